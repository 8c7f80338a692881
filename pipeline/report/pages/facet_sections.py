"""What the report says of each facet, and of two facets together, as texts and shapes for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.pages import drawings
from pipeline.report.pages.facet_table import TELLING_LIFT, Cell, FacetTable, facet_table
from pipeline.report.texts.wording import Wording

MOST_TOLD = 6
"""Combinations that are listed below the table."""


def facet_sections(summary: Mapping[str, Any], words: Wording) -> list[dict[str, Any]]:
    """Of each facet: name, names, quality, shop, its segments, those clustered and those by rule, and its figures."""
    facets = [_section(one, summary, words) for one in _facets(summary)]
    return [{**one, "key": one["name"] if place else "segments"} for place, one in enumerate(facets)]


def _facets(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The facets of a training; of one from before there were any, that which it had."""
    first = {
        "name": "behaviour",
        "names": "archetypes",
        "clustered_count": summary["clustered_count"],
        "quality": summary["quality"],
        "min_events": summary["method"]["min_events"],
    }
    facets = summary.get("facets") or [first]
    defaults = {"shop": summary["shop"], "noise_policy": summary["method"].get("noise_policy"), "min_evidence": 0.0}
    return [{**defaults, **one} for one in facets]


def _section(facet: Mapping[str, Any], summary: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    segments = [one for one in summary["segments"] if one.get("facet", facet["name"]) == facet["name"]]
    clustered = [one for one in segments if not one["is_standing"]]
    likes = facet["names"] == "interests"
    return {
        **facet,
        "title": _title(facet, words),
        "heading": "section.interest" if likes else "section.segments",
        "likes": likes,
        "segments": segments,
        "clustered": clustered,
        "standings": [one for one in segments if one["is_standing"]],
        "bars": drawings.label_bars((likes and clustered) or segments, words, has_spend=summary["has_spend"]),
        "map": _map(facet, clustered, summary, words),
        "choice": _choice(facet["quality"], words, likes=likes),
    }


def _title(facet: Mapping[str, Any], words: Wording) -> str:
    """What a facet is called; one of another name than ours bears its own."""
    key = f"facet.{facet['name']}"
    return words(key) if key in words.texts else str(facet["name"])


def _map(
    facet: Mapping[str, Any], clustered: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], words: Wording
) -> dict[str, Any] | None:
    """Categories by segments; None where no segment turns clearly to any, so that a map would be empty."""
    shown = {one["segment_id"]: words.name(one) for one in clustered if not one["is_small"]}
    found = summary["heat_map"]
    if facet["names"] == "interests":
        found = _liked(list(shown), summary.get("interests", ()))
    values = [lift for row in found["lifts"] for lift in row if lift is not None]
    if len(found["categories"]) < 2 or max(values, default=0.0) < TELLING_LIFT:
        return None
    drawn = drawings.heat_map(found, shown, words)
    is_one = len(summary.get("facets", ())) < 2
    return drawn if is_one else {**drawn, "title": f"{drawn['title']} ({_title(facet, words)})"}


def _liked(segment_ids: Sequence[str], interests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As `heat_map` of the summary, of the facet of interests: what segments like more than all, in their order.

    What they like less is everything else, and would fill the map without saying anything.
    """
    more = {
        one["label"]: [lift if (lift := one["lifts"].get(name)) and lift >= 1.0 else None for name in segment_ids]
        for one in interests
    }

    def place(label: str) -> tuple[int, float]:
        best = max(range(len(segment_ids)), key=lambda at: more[label][at] or 0.0)
        return best, -(more[label][best] or 0.0)

    order = sorted(more, key=place) if segment_ids else []
    return {
        "segment_ids": segment_ids,
        "categories": order,
        "lifts": list(zip(*(more[one] for one in order), strict=True)),
    }


def _choice(quality: Mapping[str, Any], words: Wording, *, likes: bool) -> str:
    """Why the clustering was taken, with its numbers; empty where nothing was tried."""
    tried = quality.get("candidates", [])
    if len(tried) < 2:
        return ""
    if quality["algorithm"] == "rule":
        return _why_rule(tried, words)
    is_predicted = any(one.get("buys_auc") is not None for one in tried) and not likes
    key = "choice_interest" if likes else "choice" if is_predicted else "choice_untold"
    text = words(f"trust.{key}", count=len(tried))
    taken = [
        one
        for one in tried
        if (one.get("algorithm"), one.get("n_segments")) == (quality["algorithm"], quality.get("n_segments"))
    ]
    if len(taken) != 1 or taken[0].get("stable_share") is None:  # of several balances, it is not known which
        return text
    return f"{text} {words('trust.taken', **_numbers(taken[0], words))}"


def _numbers(candidate: Mapping[str, Any], words: Wording) -> dict[str, str]:
    separation = candidate.get("separation")
    return {
        "segments": words.whole(candidate["n_segments"]),
        "stable": words.number(candidate["stable_share"], "share"),
        "silhouette": "–" if separation is None else words.fixed(separation),
    }


def _why_rule(tried: Sequence[Mapping[str, Any]], words: Wording) -> str:
    clusterings = [one for one in tried if one["algorithm"] != "rule"]
    if not clusterings:
        return ""
    apart = max((one["separation"] for one in clusterings if one["separation"] is not None), default=None)
    return words(
        "trust.choice_rule",
        count=len(clusterings),
        silhouette="–" if apart is None else words.fixed(apart),
        stable=words.number(max(one["stable_share"] for one in clusterings), "share"),
    )


def facet_crossing(summary: Mapping[str, Any], words: Wording) -> dict[str, Any] | None:
    """The table of two facets, with texts, shades and the combinations furthest from chance; None of one facet."""
    table = facet_table(summary)
    if table is None or not table.columns or all(one["is_standing"] for one in table.rows):
        return None
    has_spend = summary["has_spend"]
    return {
        "columns": [_head(one, words, has_spend=has_spend) for one in table.columns],
        "rows": [
            {
                **_head(row, words, has_spend=has_spend),
                "cells": [_cell(one, words, has_spend=has_spend) for one in cells],
            }
            for row, cells in zip(table.rows, table.cells, strict=True)
        ],
        "is_sure": any(one.is_sure for cells in table.cells for one in cells),
        "lines": _furthest(table, words),
        "left_out": "; ".join(f"{words.name(one)} ({words.whole(one['customer_count'])})" for one in table.left_out),
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
        return {"text": "–", "lift": "", "kind": "none", "strength": 0.0, "is_sure": False}
    told = [words.whole(cell.count)]
    if has_spend and cell.count and cell.spend_share is not None:
        told.append(words.number(cell.spend_share, "share"))
    shade = drawings.shade(cell.lift, words)
    lift = f"{shade['text']}×" if cell.lift is not None else ""
    return {**shade, "text": " · ".join(told), "lift": lift, "is_sure": cell.is_sure}


def _furthest(table: FacetTable, words: Wording) -> list[str]:
    """Those beyond chance, those with most first; where there are none, those with most for their size."""
    known = [
        (cell, row, column)
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.lift is not None and cell.count is not None
    ]
    told = [one for one in known if one[0].is_sure] or [one for one in known if (one[0].lift or 0.0) > 1.0]
    told.sort(key=lambda one: -(one[0].lift or 0.0))
    return [
        words(
            "facets.line",
            column=words.name(column),
            row=words.name(row),
            ratio=words.times(cell.lift),
            customers=words("customers", count=cell.count),
        )
        for cell, row, column in told[:MOST_TOLD]
    ]
