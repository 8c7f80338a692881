"""Runs compared -> one plain dict for the page, and its text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from models.identity import RULE_GROUP_PREFIX
from pipeline.report.pages.flow_figure import flow_figure
from pipeline.report.parts.segment import Segment
from pipeline.report.terminal import align_columns
from pipeline.report.texts.wording import Wording, shown_name
from pipeline.stores.run_metrics import better_direction

MAX_FLOWS = 12
"""Shown in the terminal; the HTML file has all flows."""


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


@dataclass(frozen=True)
class ComparedRun:
    """A run to compare.

    Attributes
    ----------
    params, figures : mapping
        Its parameters and metrics by name.
    segments : sequence of Segment
        Empty if it has no summary.
    line : frozenset of str
        Ids of the trainings whose segment ids mean the same segments.
    is_finished : bool
        False if it was stopped, failed, or still runs.
    language : str
        Of the training; empty if it has no summary.
    digest : str
        Of the log; empty if it is not known.
    names : mapping
        segment_id -> name, in the language of the comparison.
    """

    label: str
    params: Mapping[str, str]
    figures: Mapping[str, float]
    segments: Sequence[Segment]
    line: frozenset[str]
    is_champion: bool = False
    is_finished: bool = True
    language: str = ""
    digest: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def shown_names(self, words: Wording) -> dict[str, str]:
        """segment_id -> its name, marked if the segment is unstable."""
        return {
            segment.segment_id: shown_name(
                self.names[segment.segment_id], is_stable=segment.is_stable, language=words.language
            )
            for segment in self.segments
        }


def comparison(
    runs: Sequence[ComparedRun],
    flows: Sequence[Sequence[Mapping[str, Any]]],
    words: Wording,
    *,
    advice: Advice,
    flow_note: str,
) -> dict[str, Any]:
    """Compare two or more runs.

    Parameters
    ----------
    flows : sequence of sequence of mapping
        `pipeline.scoring.flow.flows` from each run to the next; empty if not requested or not available.

    Returns
    -------
    dict
        labels; settings, figures, segments: rows of texts; flows, with the shapes to draw; advice; notes.
    """
    settings = [run.params for run in runs]
    different = [key for key in _keys(settings) if len({params.get(key) for params in settings}) > 1]
    are_related = all(earlier.line & later.line for earlier, later in pairwise(runs))
    notes = [] if are_related else [words("compare.unrelated" if flows else "compare.unrelated_ids")]
    unfinished = [words("compare.unfinished", run=run.label) for run in runs if not run.is_finished]
    return {
        "labels": [run.label for run in runs],
        "settings": [[key, *(params.get(key, "-") for params in settings)] for key in different],
        "figures": _figures([run.figures for run in runs]),
        "segments": _segments(runs, flows, words),
        "flows": [
            _flow(table, *pair, words)
            for tables, pair in zip(flows, pairwise(runs), strict=bool(flows))
            for table in tables
        ],
        "advice": advice.text(words),
        "notes": [*unfinished, *notes, *([flow_note] if flow_note else [])],
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
        parts.append("\n".join([flow["facet"], *table, *more, flow["text"]]))
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


def _segments(
    runs: Sequence[ComparedRun], flows: Sequence[Sequence[Mapping[str, Any]]], words: Wording
) -> list[list[str]]:
    """A row per segment, ordered by the first run that has it: matched by id if runs are related, else by flows."""
    keys: list[dict[str, tuple[int, str]]] = []
    rows: dict[tuple[int, str], list[str]] = {}
    for place, run in enumerate(runs):
        related = next((at for at, other in enumerate(runs[:place]) if run.line & other.line), place)
        tables = flows[place - 1] if flows and place and related == place else []
        same = {after: before for table in tables for after, before in table["same"].items()}
        own: dict[str, tuple[int, str]] = {}
        names = run.shown_names(words)
        for segment in run.segments:
            segment_id = segment.segment_id
            line = 0 if segment_id.startswith(RULE_GROUP_PREFIX) else related
            own[segment_id] = keys[-1].get(same.get(segment_id, ""), (line, segment_id)) if keys else (line, segment_id)
            cells = rows.setdefault(own[segment_id], ["-"] * len(runs))
            cells[place] = f"{names[segment_id]} ({words.number(segment.customer_share, 'share')})"
        keys.append(own)
    return [[segment_id, *cells] for (_, segment_id), cells in rows.items()]


def _flow(table: Mapping[str, Any], before: ComparedRun, after: ComparedRun, words: Wording) -> dict[str, Any]:
    pair = (before, after)
    origins, destinations = ({**run.names, **run.shown_names(words)} for run in pair)
    rows = [
        {
            "origin": origins.get(flow["origin"], flow["origin"]),
            "destination": destinations.get(flow["destination"], flow["destination"]),
            "customers": words.whole(flow["customer_count"]),
        }
        for flow in table["flows"]
    ]
    text = words(
        "compare.flow" if before.line & after.line else "compare.flow_unrelated",
        customers=words("customers", count=table["customer_count"]),
        share=words.number(table["stayed_share"], "share"),
        agreement=words.fixed(table["agreement"]),
    )
    more = [("by_rule", table["by_rule_count"]), ("hidden", table["hidden_count"])]
    sentences = [text, *(words(f"compare.flow_{name}", count=count) for name, count in more if count)]
    # There is no room to mark unstable segments.
    figure = flow_figure(table["flows"], [run.names for run in pair], words, table["same"])
    return {
        "facet": words.facet(table["facet"]),
        "labels": [before.label, after.label],
        "rows": rows,
        "text": " ".join(sentences),
        "figure": figure,
    }
