"""Runs compared -> one plain dict, its text for the terminal, and the shapes of the flow diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from models.identity import RULE_GROUP_PREFIX
from pipeline.report.terminal import align_columns
from pipeline.report.texts.wording import Wording
from pipeline.stores.run_metrics import better_direction

MAX_FLOWS = 12
"""Shown in the terminal; the HTML file has all flows."""
FLOW_WIDTH, LABEL_WIDTH, NODE_WIDTH, NODE_GAP, NODE_SPACE = 960.0, 240.0, 12.0, 16.0, 38.0


@dataclass(frozen=True)
class Advice:
    """Which run to take.

    Attributes
    ----------
    verdict : str
        keep, take, take_fewest, undecided or none.
    label : str
        Label of the run.
    behind : mapping of str to sequence of str
        Label of another run -> figures in which it is worse.
    judged : tuple of str
        Figures that the choice is based on.
    warning : str
        dates or data, if the runs differ in them.
    """

    verdict: str
    label: str = ""
    behind: Mapping[str, Sequence[str]] = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    warning: str = ""

    def text(self, words: Wording) -> str:
        """The advice in the language of ``words``."""
        worse = "; ".join(
            words("compare.worse", label=label, figures=", ".join(names)) for label, names in self.behind.items()
        )
        why = worse or words("compare.no_better")
        advice = words(f"compare.advice.{self.verdict}", label=self.label, why=why, judged=", ".join(self.judged))
        return f"{advice} {words(f'compare.warning.{self.warning}')}" if self.warning else advice


def comparison(
    runs: Sequence[Mapping[str, Any]],
    flows: Sequence[Mapping[str, Any]],
    words: Wording,
    *,
    advice: Advice,
    flow_note: str,
) -> dict[str, Any]:
    """Compare two or more runs.

    Parameters
    ----------
    runs : sequence of mapping
        label; params, figures: by name; summary: `summarise`, or empty; names: segment_id -> name; line: ids of the
        trainings whose segment ids mean the same segments.
    flows : sequence of mapping
        `pipeline.scoring.flow.flow_table` from each run to the next; empty if not requested or not available.

    Returns
    -------
    dict
        labels; settings, figures, segments: rows of texts; flows, with the shapes to draw; advice; notes.
    """
    settings = [run["params"] for run in runs]
    different = [key for key in _keys(settings) if len({params.get(key) for params in settings}) > 1]
    are_related = all(earlier["line"] & later["line"] for earlier, later in pairwise(runs))
    notes = [] if are_related else [words("compare.unrelated" if flows else "compare.unrelated_ids")]
    return {
        "labels": [run["label"] for run in runs],
        "settings": [[key, *(params.get(key, "-") for params in settings)] for key in different],
        "figures": _figures([run["figures"] for run in runs]),
        "segments": _segments(runs, flows, words),
        "flows": [_flow(table, *pair, words) for table, pair in zip(flows, pairwise(runs), strict=bool(flows))],
        "advice": advice.text(words),
        "notes": [*notes, *([flow_note] if flow_note else [])],
    }


def as_text(contents: Mapping[str, Any], words: Wording) -> str:
    """A comparison in English for the terminal."""
    parts = [
        "\n".join(align_columns([[words(f"compare.{name}"), *contents["labels"]], *contents[name]]))
        for name in ("settings", "figures", "segments")
        if contents[name]
    ]
    for flow in contents["flows"]:
        rows = [[row["origin"], row["destination"], row["customers"]] for row in flow["rows"]]
        more = [f"... and {len(rows) - MAX_FLOWS} smaller flows"] if len(rows) > MAX_FLOWS else []
        table = align_columns(
            [[f"In {flow['labels'][0]}", f"In {flow['labels'][1]}", "Customers"], *rows[:MAX_FLOWS]], right={2}
        )
        parts.append("\n".join([*table, *more, flow["text"]]))
    return "\n\n".join([contents["advice"], *parts, *contents["notes"]])


def _keys(dicts: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({key for keys in dicts for key in keys})


def _figures(figures: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Rows of figures; those without a better direction are left out if they are 0 or unknown in all runs."""
    shown = [
        key
        for key in _keys(figures)
        if better_direction(key) or any(abs(run.get(key, 0.0)) > 0 for run in figures)  # NaN is not
    ]
    return [[key, *_mark_best(key, figures)] for key in shown]


def _mark_best(key: str, figures: Sequence[Mapping[str, float]]) -> list[str]:
    known = [run[key] for run in figures if key in run]
    best, better = None, better_direction(key)
    if better and len(set(known)) > 1:
        best = max(known) if better == "higher" else min(known)
    return [f"{run[key]:,.4g}{'*' if run[key] == best else ''}" if key in run else "-" for run in figures]


def _segments(runs: Sequence[Mapping[str, Any]], flows: Sequence[Mapping[str, Any]], words: Wording) -> list[list[str]]:
    """A row per segment, ordered by the first run that has it: matched by id if runs are related, else by flows."""
    keys: list[dict[str, tuple[int, str]]] = []
    rows: dict[tuple[int, str], list[str]] = {}
    for place, run in enumerate(runs):
        related = next((at for at, other in enumerate(runs[:place]) if run["line"] & other["line"]), place)
        same = flows[place - 1]["same"] if flows and place and related == place else {}
        own: dict[str, tuple[int, str]] = {}
        names = _shown_names(run, words)
        for segment in run["summary"].get("segments", []):
            segment_id = segment["segment_id"]
            line = 0 if segment_id.startswith(RULE_GROUP_PREFIX) else related
            own[segment_id] = keys[-1].get(same.get(segment_id, ""), (line, segment_id)) if keys else (line, segment_id)
            cells = rows.setdefault(own[segment_id], ["-"] * len(runs))
            cells[place] = f"{names[segment_id]} ({words.number(segment['customer_share'], 'share')})"
        keys.append(own)
    return [[segment_id, *cells] for (_, segment_id), cells in rows.items()]


def _shown_names(run: Mapping[str, Any], words: Wording) -> dict[str, str]:
    """segment_id -> its name, marked if the segment is unstable."""
    return {
        segment["segment_id"]: words.name({**segment, "names": {words.language: run["names"][segment["segment_id"]]}})
        for segment in run["summary"].get("segments", [])
    }


def _flow(
    table: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], words: Wording
) -> dict[str, Any]:
    pair = (before, after)
    origins, destinations = (run["names"] | _shown_names(run, words) for run in pair)
    rows = [
        {
            "origin": origins.get(flow["origin"], flow["origin"]),
            "destination": destinations.get(flow["destination"], flow["destination"]),
            "customers": words.whole(flow["customer_count"]),
        }
        for flow in table["flows"]
    ]
    text = words(
        "compare.flow" if before["line"] & after["line"] else "compare.flow_unrelated",
        customers=words("customers", count=table["customer_count"]),
        share=words.number(table["stayed_share"], "share"),
        agreement=words.fixed(table["agreement"]),
    )
    more = [("by_rule", table["by_rule_count"]), ("hidden", table["hidden_count"])]
    sentences = [text, *(words(f"compare.flow_{name}", count=count) for name, count in more if count)]
    # There is no room to mark unstable segments.
    figure = flow_figure(table["flows"], [run["names"] for run in pair], words, table["same"])
    return {"labels": [before["label"], after["label"]], "rows": rows, "text": " ".join(sentences), "figure": figure}


def flow_figure(
    flows: Sequence[Mapping[str, Any]],
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Shapes of a Sankey diagram: segments left and right, with heights by their customers, and bands between them.

    Parameters
    ----------
    same : mapping, optional
        Segment on the right -> the same segment on the left; by default the one with the same id.

    Returns
    -------
    dict
        width, height; nodes: x, y, height, label, label_x, anchor; bands: path, kind (same, moved), title.
    """
    if not flows:
        return {"width": 0, "height": 0, "nodes": [], "bands": []}
    sizes: list[dict[str, int]] = [{}, {}]
    for flow in flows:
        for side, key in enumerate(("origin", "destination")):
            sizes[side][flow[key]] = sizes[side].get(flow[key], 0) + flow["customer_count"]
    left = sorted(sizes[0], key=lambda name: (name.startswith(RULE_GROUP_PREFIX), -sizes[0][name], name))
    right = _order_destinations(left, sizes[1], flows)
    height = NODE_SPACE * max(len(left), len(right))
    scale = (height - NODE_GAP * (max(len(left), len(right)) - 1)) / sum(sizes[0].values())
    tops = [_tops(order, sizes[side], scale) for side, order in enumerate((left, right))]
    xs = (LABEL_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH)
    nodes = [
        {
            **{"x": xs[side], "y": round(tops[side][name], 1)},
            "height": round(max(sizes[side][name] * scale, 1.0), 1),
            **{"label": names[side].get(name, name), "label_x": xs[side] + (NODE_WIDTH + 8 if side else -8)},
            "anchor": "start" if side else "end",
        }
        for side, order in enumerate((left, right))
        for name in order
    ]
    ordered = sorted(flows, key=lambda flow: (left.index(flow["origin"]), right.index(flow["destination"])))
    return {
        "width": FLOW_WIDTH,
        "height": height,
        "nodes": nodes,
        "bands": _bands(ordered, tops, scale, names, words, same),
    }


def _order_destinations(left: Sequence[str], sizes: Mapping[str, int], flows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Destinations ordered by the mean position of their customers' origins, so that few bands cross."""
    place = {name: index for index, name in enumerate(left)}
    means = dict.fromkeys(sizes, 0.0)
    for flow in flows:
        destination = flow["destination"]
        means[destination] += place[flow["origin"]] * flow["customer_count"] / sizes[destination]
    return sorted(means, key=lambda name: (round(means[name], 9), name))


def _tops(order: Sequence[str], sizes: Mapping[str, int], scale: float) -> dict[str, float]:
    tops, at = {}, 0.0
    for name in order:
        tops[name] = at
        at += sizes[name] * scale + NODE_GAP
    return tops


def _bands(
    flows: Sequence[Mapping[str, Any]],
    tops: Sequence[Mapping[str, float]],
    scale: float,
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None,
) -> list[dict[str, str]]:
    """Bands in the order of ``flows``, each below the previous ones at both ends."""
    at = [dict(side) for side in tops]
    start, end = LABEL_WIDTH + NODE_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH
    middle = FLOW_WIDTH / 2
    bands = []
    for flow in flows:
        origin, destination, thickness = flow["origin"], flow["destination"], flow["customer_count"] * scale
        y, to = at[0][origin], at[1][destination]
        at[0][origin], at[1][destination] = y + thickness, to + thickness
        path = (
            f"M{start:.1f},{y:.1f}C{middle:.1f},{y:.1f} {middle:.1f},{to:.1f} {end:.1f},{to:.1f}"
            f"V{to + thickness:.1f}C{middle:.1f},{to + thickness:.1f} {middle:.1f},{y + thickness:.1f} "
            f"{start:.1f},{y + thickness:.1f}Z"
        )
        ends = " → ".join(name.get(end_id, end_id) for name, end_id in zip(names, (origin, destination), strict=True))
        is_same = origin == (destination if same is None else same.get(destination))
        kind = "same" if is_same else "moved"
        bands.append(
            {"path": path, "kind": kind, "title": f"{ends}: {words('customers', count=flow['customer_count'])}"}
        )
    return bands
