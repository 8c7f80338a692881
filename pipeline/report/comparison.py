"""Runs side by side -> one plain dict, its text for the terminal, and the shapes of the flow figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from models.identity import STANDING
from pipeline.report.terminal import aligned
from pipeline.report.texts.wording import Wording

HIGHER_IS_BETTER = {
    "silhouette": True,
    "calinski_harabasz": True,
    "davies_bouldin": False,
    "density_validity": True,
    "stability_mean": True,
    "stability_min": True,
    "validity_buys_auc": True,
    "validity_spend_r2": True,
    "validity_category_auc": True,
    "noise_share": False,
    "rules_fidelity": True,
    "segments_unstable": False,
}
MOST_FLOWS = 12
"""In the terminal; the file has all."""
FLOW_WIDTH, LABEL_WIDTH, NODE_WIDTH, NODE_GAP, NODE_SPACE = 960.0, 240.0, 12.0, 16.0, 38.0


@dataclass(frozen=True)
class Advice:
    """Which run to take.

    Attributes
    ----------
    verdict : str
        keep, take, take_fewest, undecided or none.
    label : str
        Of the run.
    behind : mapping of str to sequence of str
        Label of another run -> figures in which it is worse.
    judged : tuple of str
        Figures that could have decided.
    beware : str
        moments or data, where the runs do not share them.
    """

    verdict: str
    label: str = ""
    behind: Mapping[str, Sequence[str]] = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    beware: str = ""

    def said(self, words: Wording) -> str:
        """In a language."""
        worse = "; ".join(
            words("compare.worse", label=label, figures=", ".join(names)) for label, names in self.behind.items()
        )
        why = worse or words("compare.no_better")
        told = words(f"compare.advice.{self.verdict}", label=self.label, why=why, judged=", ".join(self.judged))
        return f"{told} {words(f'compare.beware.{self.beware}')}" if self.beware else told


def comparison(
    runs: Sequence[Mapping[str, Any]],
    flows: Sequence[Mapping[str, Any]],
    words: Wording,
    *,
    advice: Advice,
    flow_note: str,
) -> dict[str, Any]:
    """What two or more runs have in common and in what they differ.

    Parameters
    ----------
    runs : sequence of mapping
        label; params, figures: by name; summary: `summarise`, or empty; names: segment_id -> what it is called; line:
        run ids of the trainings that its segment ids are shared with.
    flows : sequence of mapping
        `pipeline.scoring.flow.flow_table` from each run to the next; none where it was not asked for or
        could not be had.

    Returns
    -------
    dict
        labels; settings, figures, segments: rows of texts; flows, with the shapes to draw; advice; notes.
    """
    settings = [run["params"] for run in runs]
    different = [key for key in _keys(settings) if len({one.get(key) for one in settings}) > 1]
    are_akin = all(one["line"] & other["line"] for one, other in pairwise(runs))
    notes = [] if are_akin else [words("compare.unrelated" if flows else "compare.unrelated_ids")]
    return {
        "labels": [run["label"] for run in runs],
        "settings": [[key, *(one.get(key, "-") for one in settings)] for key in different],
        "figures": _figures([run["figures"] for run in runs]),
        "segments": _segments(runs, flows, words),
        "flows": [_flow(table, *pair, words) for table, pair in zip(flows, pairwise(runs), strict=bool(flows))],
        "advice": advice.said(words),
        "notes": [*notes, *([flow_note] if flow_note else [])],
    }


def as_text(told: Mapping[str, Any], words: Wording) -> str:
    """A comparison in English for the terminal."""
    parts = [
        "\n".join(aligned([[words(f"compare.{name}"), *told["labels"]], *told[name]]))
        for name in ("settings", "figures", "segments")
        if told[name]
    ]
    for flow in told["flows"]:
        rows = [[one["origin"], one["destination"], one["customers"]] for one in flow["rows"]]
        more = [f"... and {len(rows) - MOST_FLOWS} smaller ones"] if len(rows) > MOST_FLOWS else []
        table = aligned(
            [[f"In {flow['labels'][0]}", f"In {flow['labels'][1]}", "Customers"], *rows[:MOST_FLOWS]], right={2}
        )
        parts.append("\n".join([*table, *more, flow["text"]]))
    return "\n\n".join([*parts, *told["notes"], told["advice"]])


def _keys(dicts: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({key for one in dicts for key in one})


def _figures(figures: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Those that say something: one without a better or a worse says nothing where it is 0 or unknown in all runs."""
    told = [
        key
        for key in _keys(figures)
        if key in HIGHER_IS_BETTER or any(abs(one.get(key, 0.0)) > 0 for one in figures)  # which NaN is not
    ]
    return [[key, *_marked(key, figures)] for key in told]


def _marked(key: str, figures: Sequence[Mapping[str, float]]) -> list[str]:
    known = [one[key] for one in figures if key in one]
    best = None
    if key in HIGHER_IS_BETTER and len(set(known)) > 1:
        best = max(known) if HIGHER_IS_BETTER[key] else min(known)
    return [f"{one[key]:,.4g}{'*' if one[key] == best else ''}" if key in one else "-" for one in figures]


def _segments(runs: Sequence[Mapping[str, Any]], flows: Sequence[Mapping[str, Any]], words: Wording) -> list[list[str]]:
    """A row per segment, in the order of the first run that has it: by id in one line of trainings, else by flows."""
    keys: list[dict[str, tuple[int, str]]] = []
    found: dict[tuple[int, str], list[str]] = {}
    for place, run in enumerate(runs):
        akin = next((at for at, other in enumerate(runs[:place]) if run["line"] & other["line"]), place)
        same = flows[place - 1]["same"] if flows and place and akin == place else {}
        own: dict[str, tuple[int, str]] = {}
        names = _shown_names(run, words)
        for one in run["summary"].get("segments", []):
            segment_id = one["segment_id"]
            line = 0 if segment_id.startswith(STANDING) else akin
            own[segment_id] = keys[-1].get(same.get(segment_id, ""), (line, segment_id)) if keys else (line, segment_id)
            cells = found.setdefault(own[segment_id], ["-"] * len(runs))
            cells[place] = f"{names[segment_id]} ({words.number(one['customer_share'], 'share')})"
        keys.append(own)
    return [[segment_id, *cells] for (_, segment_id), cells in found.items()]


def _shown_names(run: Mapping[str, Any], words: Wording) -> dict[str, str]:
    """segment_id -> its name, and that it is unstable where it is."""
    return {
        one["segment_id"]: words.name({**one, "names": {words.language: run["names"][one["segment_id"]]}})
        for one in run["summary"].get("segments", [])
    }


def _flow(
    table: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], words: Wording
) -> dict[str, Any]:
    pair = (before, after)
    origins, destinations = (run["names"] | _shown_names(run, words) for run in pair)
    rows = [
        {
            "origin": origins.get(one["origin"], one["origin"]),
            "destination": destinations.get(one["destination"], one["destination"]),
            "customers": words.whole(one["customer_count"]),
        }
        for one in table["flows"]
    ]
    text = words(
        "compare.flow" if before["line"] & after["line"] else "compare.flow_unrelated",
        customers=words("customers", count=table["customer_count"]),
        share=words.number(table["stayed_share"], "share"),
        agreement=words.fixed(table["agreement"]),
    )
    more = [("by_rule", table["by_rule_count"]), ("hidden", table["hidden_count"])]
    told = [text, *(words(f"compare.flow_{name}", count=count) for name, count in more if count)]
    # Without a word of who is unstable, as there is no room.
    figure = flow_figure(table["flows"], [run["names"] for run in pair], words, table["same"])
    return {"labels": [before["label"], after["label"]], "rows": rows, "text": " ".join(told), "figure": figure}


def flow_figure(
    flows: Sequence[Mapping[str, Any]],
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Shapes of a Sankey diagram: segments left and right, as high as their customers are many, and bands between.

    Parameters
    ----------
    same : mapping, optional
        Segment on the right -> the same one on the left; without it, that of the same id.

    Returns
    -------
    dict
        width, height; nodes: x, y, height, label, label_x, anchor; bands: path, kind (same, moved), title.
    """
    if not flows:
        return {"width": 0, "height": 0, "nodes": [], "bands": []}
    sizes: list[dict[str, int]] = [{}, {}]
    for one in flows:
        for side, key in enumerate(("origin", "destination")):
            sizes[side][one[key]] = sizes[side].get(one[key], 0) + one["customer_count"]
    left = sorted(sizes[0], key=lambda one: (one.startswith(STANDING), -sizes[0][one], one))
    right = _beside(left, sizes[1], flows)
    height = NODE_SPACE * max(len(left), len(right))
    scale = (height - NODE_GAP * (max(len(left), len(right)) - 1)) / sum(sizes[0].values())
    tops = [_tops(order, sizes[side], scale) for side, order in enumerate((left, right))]
    xs = (LABEL_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH)
    nodes = [
        {
            **{"x": xs[side], "y": round(tops[side][one], 1), "height": round(max(sizes[side][one] * scale, 1.0), 1)},
            **{"label": names[side].get(one, one), "label_x": xs[side] + (NODE_WIDTH + 8 if side else -8)},
            "anchor": "start" if side else "end",
        }
        for side, order in enumerate((left, right))
        for one in order
    ]
    ordered = sorted(flows, key=lambda one: (left.index(one["origin"]), right.index(one["destination"])))
    return {
        "width": FLOW_WIDTH,
        "height": height,
        "nodes": nodes,
        "bands": _bands(ordered, tops, scale, names, words, same),
    }


def _beside(left: Sequence[str], sizes: Mapping[str, int], flows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Destinations in order of the mean place that their customers come from, so that few bands cross."""
    place = {name: index for index, name in enumerate(left)}
    means = dict.fromkeys(sizes, 0.0)
    for one in flows:
        means[one["destination"]] += place[one["origin"]] * one["customer_count"] / sizes[one["destination"]]
    return sorted(means, key=lambda one: (round(means[one], 9), one))


def _tops(order: Sequence[str], sizes: Mapping[str, int], scale: float) -> dict[str, float]:
    tops, at = {}, 0.0
    for one in order:
        tops[one] = at
        at += sizes[one] * scale + NODE_GAP
    return tops


def _bands(
    flows: Sequence[Mapping[str, Any]],
    tops: Sequence[Mapping[str, float]],
    scale: float,
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None,
) -> list[dict[str, str]]:
    """Bands in the order of ``flows``, each below the ones before at both of its ends."""
    at = [dict(one) for one in tops]
    start, end = LABEL_WIDTH + NODE_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH
    middle = FLOW_WIDTH / 2
    bands = []
    for one in flows:
        origin, destination, thick = one["origin"], one["destination"], one["customer_count"] * scale
        y, to = at[0][origin], at[1][destination]
        at[0][origin], at[1][destination] = y + thick, to + thick
        path = (
            f"M{start:.1f},{y:.1f}C{middle:.1f},{y:.1f} {middle:.1f},{to:.1f} {end:.1f},{to:.1f}"
            f"V{to + thick:.1f}C{middle:.1f},{to + thick:.1f} {middle:.1f},{y + thick:.1f} {start:.1f},{y + thick:.1f}Z"
        )
        ends = " → ".join(name.get(end_id, end_id) for name, end_id in zip(names, (origin, destination), strict=True))
        is_same = origin == (destination if same is None else same.get(destination))
        kind = "same" if is_same else "moved"
        bands.append(
            {"path": path, "kind": kind, "title": f"{ends}: {words('customers', count=one['customer_count'])}"}
        )
    return bands
