"""The sections of each facet and of two facets together, as texts and shapes for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.pages import drawings
from pipeline.report.pages.facet_table import MIN_MAP_LIFT, Cell, FacetTable, facet_table
from pipeline.report.texts.wording import Wording

MAX_COMBINATIONS = 6
"""Listed below the table."""


def facet_sections(summary: Mapping[str, Any], words: Wording) -> list[dict[str, Any]]:
    """Per facet: name, names, quality, shop, all segments, those clustered, those based on rules, and the figures."""
    facets = [_section(facet, summary, words) for facet in _facets(summary)]
    return [{**facet, "key": facet["name"] if place else "segments"} for place, facet in enumerate(facets)]


def _facets(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The facets of a training; a training without facets counts as one of behaviour."""
    first = {
        "name": "behaviour",
        "names": "archetypes",
        "clustered_count": summary["clustered_count"],
        "quality": summary["quality"],
        "min_events": summary["method"]["min_events"],
    }
    facets = summary.get("facets") or [first]
    defaults = {"shop": summary["shop"], "noise_policy": summary["method"].get("noise_policy"), "min_evidence": 0.0}
    return [{**defaults, **facet} for facet in facets]


def _section(facet: Mapping[str, Any], summary: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    segments = [segment for segment in summary["segments"] if segment.get("facet", facet["name"]) == facet["name"]]
    clustered = [segment for segment in segments if not segment["is_standing"]]
    by_interest = facet["names"] == "interests"
    return {
        **facet,
        "title": _title(facet, words),
        "heading": "section.interest" if by_interest else "section.segments",
        "by_interest": by_interest,
        "segments": segments,
        "clustered": clustered,
        "rule_based": [segment for segment in segments if segment["is_standing"]],
        "bars": drawings.label_bars((by_interest and clustered) or segments, words, has_spend=summary["has_spend"]),
        "map": _map(facet, clustered, summary, words),
        "choice": _choice(facet["quality"], words, by_interest=by_interest),
    }


def _title(facet: Mapping[str, Any], words: Wording) -> str:
    """The label of a facet; its own name where there is no text for it."""
    key = f"facet.{facet['name']}"
    return words(key) if key in words.texts else str(facet["name"])


def _map(
    facet: Mapping[str, Any], clustered: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], words: Wording
) -> dict[str, Any] | None:
    """Categories by segments; None if no segment has a clear interest, because the map would be empty."""
    shown = {segment["segment_id"]: words.name(segment) for segment in clustered if not segment["is_small"]}
    table = summary["heat_map"]
    if facet["names"] == "interests":
        table = _above_average(list(shown), summary.get("interests", ()))
    values = [lift for row in table["lifts"] for lift in row if lift is not None]
    if len(table["categories"]) < 2 or max(values, default=0.0) < MIN_MAP_LIFT:
        return None
    figure = drawings.interest_map(table, shown, words)
    has_one_facet = len(summary.get("facets", ())) < 2
    return figure if has_one_facet else {**figure, "title": f"{figure['title']} ({_title(facet, words)})"}


def _above_average(segment_ids: Sequence[str], interests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As ``heat_map`` of the summary, for interest segments: their above-average interests, in the order of segments.

    An interest segment is below average in nearly every other category; showing that would only fill the map.
    """
    above = {
        interest["label"]: [
            lift if (lift := interest["lifts"].get(name)) and lift >= 1.0 else None for name in segment_ids
        ]
        for interest in interests
    }

    def position(label: str) -> tuple[int, float]:
        best = max(range(len(segment_ids)), key=lambda index: above[label][index] or 0.0)
        return best, -(above[label][best] or 0.0)

    order = sorted(above, key=position) if segment_ids else []
    return {
        "segment_ids": segment_ids,
        "categories": order,
        "lifts": list(zip(*(above[label] for label in order), strict=True)),
    }


def _choice(quality: Mapping[str, Any], words: Wording, *, by_interest: bool) -> str:
    """Why the clustering was chosen, with its figures; empty if there was nothing to choose from."""
    candidates = quality.get("candidates", [])
    if len(candidates) < 2:
        return ""
    if quality["algorithm"] == "rule":
        return _why_rule(candidates, words)
    is_predicted = any(candidate.get("buys_auc") is not None for candidate in candidates) and not by_interest
    key = "choice_interest" if by_interest else "choice" if is_predicted else "choice_unmeasured"
    text = words(f"trust.{key}", count=len(candidates))
    chosen = [
        candidate
        for candidate in candidates
        if (candidate.get("algorithm"), candidate.get("n_segments"))
        == (quality["algorithm"], quality.get("n_segments"))
    ]
    # Candidates that differ only in their balance of columns cannot be distinguished here.
    if len(chosen) != 1 or chosen[0].get("stable_share") is None:
        return text
    return f"{text} {words('trust.taken', **_candidate_figures(chosen[0], words))}"


def _candidate_figures(candidate: Mapping[str, Any], words: Wording) -> dict[str, str]:
    separation = candidate.get("separation")
    return {
        "segments": words.whole(candidate["n_segments"]),
        "stable": words.number(candidate["stable_share"], "share"),
        "silhouette": "–" if separation is None else words.fixed(separation),
    }


def _why_rule(candidates: Sequence[Mapping[str, Any]], words: Wording) -> str:
    clusterings = [candidate for candidate in candidates if candidate["algorithm"] != "rule"]
    if not clusterings:
        return ""
    separations = [candidate["separation"] for candidate in clusterings if candidate["separation"] is not None]
    return words(
        "trust.choice_rule",
        count=len(clusterings),
        silhouette=words.fixed(max(separations)) if separations else "–",
        stable=words.number(max(candidate["stable_share"] for candidate in clusterings), "share"),
    )


def facet_crossing(summary: Mapping[str, Any], words: Wording) -> dict[str, Any] | None:
    """The table of two facets with texts, shades and the strongest combinations; None if there is one facet."""
    table = facet_table(summary)
    if table is None or not table.columns or all(row["is_standing"] for row in table.rows):
        return None
    has_spend = summary["has_spend"]
    return {
        "columns": [_head(column, words, has_spend=has_spend) for column in table.columns],
        "rows": [
            {
                **_head(row, words, has_spend=has_spend),
                "cells": [_cell(cell, words, has_spend=has_spend) for cell in cells],
            }
            for row, cells in zip(table.rows, table.cells, strict=True)
        ],
        "has_significant": any(cell.is_significant for cells in table.cells for cell in cells),
        "lines": _strongest(table, words),
        "left_out": "; ".join(
            f"{words.name(segment)} ({words.whole(segment['customer_count'])})" for segment in table.left_out
        ),
    }


def _head(segment: Mapping[str, Any], words: Wording, *, has_spend: bool) -> dict[str, str]:
    spend = segment["spend_share"] if has_spend else None
    return {
        "name": words.name(segment),
        "count": words.whole(segment["customer_count"]),
        "spend": "" if spend is None else words.number(spend, "share"),
    }


def _cell(cell: Cell, words: Wording, *, has_spend: bool) -> dict[str, Any]:
    if cell.count is None:
        return {"text": "–", "lift": "", "kind": "none", "strength": 0.0, "is_significant": False}
    texts = [words.whole(cell.count)]
    if has_spend and cell.count and cell.spend_share is not None:
        texts.append(words.number(cell.spend_share, "share"))
    shade = drawings.shade(cell.lift, words)
    lift = f"{shade['text']}×" if cell.lift is not None else ""
    return {**shade, "text": " · ".join(texts), "lift": lift, "is_significant": cell.is_significant}


def _strongest(table: FacetTable, words: Wording) -> list[str]:
    """The significant combinations, highest lift first; if there are none, those with a lift above 1."""
    known = [
        (cell, row, column)
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.lift is not None and cell.count is not None
    ]
    listed = [entry for entry in known if entry[0].is_significant]
    listed = listed or [entry for entry in known if (entry[0].lift or 0.0) > 1.0]
    listed.sort(key=lambda entry: -(entry[0].lift or 0.0))
    return [
        words(
            "facets.line",
            column=words.name(column),
            row=words.name(row),
            ratio=words.times(cell.lift),
            customers=words("customers", count=cell.count),
        )
        for cell, row, column in listed[:MAX_COMBINATIONS]
    ]
