"""Results -> one plain dict. All that the report says is computed here; the template only places it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.five_w import five_w_texts
from pipeline.report.foretold import validity_section

MAX_HEAT_COLUMNS = 10
STAGES = {
    "newcomer": "registered and silent",
    "browsing": "looking, no cart yet",
    "cart": "with a cart, nothing bought",
    "first_order": "first order lately",
    "active": "buying",
    "returned": "came back",
    "slipping": "slipping away",
    "lapsed": "lapsed",
    "lost": "lost",
}
FIGURES: dict[str, tuple[str, str]] = {
    "orders_per_buyer": ("orders per buyer", "number"),
    "orders_per_customer": ("orders per customer", "number"),
    "average_order_value": ("spent on an average order", "money"),
    "spend_per_customer": ("spent per customer", "money"),
    "spend_share": ("of all spend", "share"),
    "buyer_share": ("have bought", "share"),
    "repeat_buyer_share": ("have bought again", "share"),
    "past_buyer_share": ("have bought, but not lately", "share"),
    "lapsed_buyer_share": ("have bought, but long ago", "share"),
    "days_since_last_event": ("days since last seen", "number"),
    "days_since_last_purchase": ("days since the last order", "number"),
    "days_since_first_event": ("days since first seen", "number"),
    "visits_per_customer": ("visits per customer", "number"),
    "events_per_customer": ("actions per customer", "number"),
    "views_per_customer": ("views per customer", "number"),
    "cart_user_share": ("have filled a cart", "share"),
    "abandoned_cart_share": ("of carts left behind", "share"),
    "return_rate": ("of items sent back", "share"),
    "discount_share": ("of items bought at a discount", "share"),
    "evening_share": ("of visits in the evening", "share"),
    "weekend_share": ("of visits at weekends", "share"),
    "price_level": ("times the usual price of what they buy", "number"),
    "stage_lost_share": ("are lost", "share"),
}
ON_CARDS = {
    "visits_per_customer": "Visits per customer",
    "buyer_share": "Have bought",
    "orders_per_buyer": "Orders per buyer",
    "average_order_value": "Average order",
    "days_since_last_event": "Days since last seen",
    "days_since_last_purchase": "Days since the last order",
    "abandoned_cart_share": "Carts left behind",
    "discount_share": "Items bought at a discount",
    "return_rate": "Items sent back",
}
RULES = {
    "unreadable_row": "could not be split into columns",
    "missing_customer_id": "named no customer",
    "missing_event_type": "did not say what was done",
    "unreadable_time": "had a time that cannot be read",
    "time_out_of_range": "had a time before 1990 or after 2099",
    "missing_product_id": "named no product",
    "unreadable_number": "had a number that cannot be read",
    "negative_price": "had a negative price",
    "negative_quantity": "had a negative quantity",
    "text_too_long": "had a text that is too long",
    "broken_encoding": "had broken characters",
    "unknown_product": "named a product that the catalogue does not know (kept, without a category)",
    "without_category": "are on products without a category (kept; they say nothing of interests)",
    "after_as_of": "lie after the date of this report (they will count later)",
}


def number(value: float | None, form: str = "number") -> str:
    """A figure as people read it; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    if value == 0:
        return "0%" if form == "share" else "0"
    if form == "share" and 0 < value < 0.0005:
        return "<0.1%"
    if form == "share":
        return f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}"
    if form == "money":
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:,.1f}"


def shown_name(segment: Mapping[str, Any]) -> str:
    """The name, and that the segment is unstable where it is."""
    return segment["name"] + ("" if segment["is_stable"] else " (unstable)")


def summarise(
    *,
    as_of: datetime,
    language: str,
    run_id: str,
    reading: Mapping[str, Any],
    segments: list[dict[str, Any]],
    shop: Mapping[str, float],
    lifts: pd.DataFrame,
    labels: Mapping[str, str],
    lineage: Mapping[str, Any],
    customer_count: int,
    clustered_count: int,
    quality: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as data: numbers for machines, and texts for people beside them.

    Parameters
    ----------
    segments : list of dict
        The segments contract, in the order of the report.
    shop : mapping
        Figures of everybody clustered.
    lifts : DataFrame
        segment_id x category, in the order to show them.
    lineage : mapping
        `pipeline.report.tables.lineage_table`.

    Returns
    -------
    dict
        JSON-able.
    """
    clustered = [one for one in segments if not one["is_standing"]]
    return {
        "run_id": run_id,
        "language": language,
        "as_of": f"{as_of:%Y-%m-%d %H:%M} UTC",
        "customer_count": customer_count,
        "clustered_count": clustered_count,
        "segments": [_segment(one, shop, language) for one in segments],
        "segment_names": {one["segment_id"]: one["name"] for one in segments},
        "shop": dict(shop),
        "has_spend": any(one["spend_share"] > 0 for one in segments),
        "headline": _headline(clustered, reading, customer_count, clustered_count),
        "heat_map": _heat_map(clustered, lifts, labels),
        "lineage": dict(lineage),
        "reading": dict(reading),
        "set_aside": _counted(reading["rejected_by_rule"], reading["read_count"]),
        "noted": _counted(reading["noted_by_rule"], reading["read_count"]),
        "quality": dict(quality),
        "quality_texts": _quality_texts(quality, clustered),
        "foretold": validity_section(quality.get("validity")),
    }


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The segments as a table, and how far to trust them; for the tracker. Signs of Markdown and HTML are escaped."""
    rows = [
        (shown_name(one), one["texts"]["customers"], one["texts"]["customer_share"], one["texts"]["spend_share"],
         f"{number(one['stability'], 'share')} {one['stability_word'] or ''}",
         "; ".join(interest["label"] for interest in one["top_categories"]))
        for one in summary["segments"]
    ]  # fmt: skip
    head = ("Segment", "Customers", "Share", "Of spend", "Stability", "Interests")
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (head, *rows)]
    names = "; ".join(shown_name(one) for one in summary["segments"] if not one["is_standing"])
    table = "\n".join([lines[0], "|---|--:|--:|--:|--:|---|", *lines[1:]])
    return "\n\n".join([_escaped(names), table, *map(_escaped, summary["quality_texts"])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text).replace("<", "&lt;")


def _headline(
    clustered: list[dict[str, Any]], reading: Mapping[str, Any], customers: int, clustered_count: int
) -> list[dict[str, str]]:
    best = max(clustered, key=lambda one: one["spend_share"], default=None)
    told = [
        {"value": f"{customers:,}", "text": "customers"},
        {"value": f"{reading['accepted_count']:,}", "text": "events read"},
        {"value": f"{len(clustered)}", "text": "segments found"},
        {
            "value": number(clustered_count / max(customers, 1), "share"),
            "text": "of customers did enough to be told apart",
        },
    ]
    if best and best["spend_share"] > 0:
        told.append({"value": number(best["spend_share"], "share"), "text": f"of spend comes from {shown_name(best)}"})
    return told


def _segment(segment: dict[str, Any], shop: Mapping[str, float], language: str) -> dict[str, Any]:
    figures = segment["figures"]
    stages = {stage: figures.get(f"stage_{stage}_share", 0.0) for stage in STAGES}
    return {
        **segment,
        "texts": {
            "name": shown_name(segment),
            "customers": f"{segment['customer_count']:,}",
            "customer_share": number(segment["customer_share"], "share"),
            "spend_share": number(segment["spend_share"], "share"),
            "why": [_why(one) for one in segment["evidence"]],
            "interests": [
                f"{one['label']}: {number(one['share'], 'share')} of their interest, {one['lift']:.1f}× the shop's "
                f"at the same times (at least {one['lift_low']:.1f}×; {one['customer_count']:,} customers)"
                for one in segment["top_categories"]
            ],
            "figures": [
                {"name": label, "value": number(figures[name], FIGURES[name][1]),
                 "shop": number(shop.get(name), FIGURES[name][1])}
                for name, label in ON_CARDS.items() if name in figures and shop.get(name)
            ],
            "when": _when(figures),
            "rule": _rule_text(segment["rule"]),
            "five_w": five_w_texts(segment.get("five_w", {}), language),
            "playbook": segment["playbook"].get(language, ""),
            "stability": _stability_text(segment),
        },
        "stages": [
            {"name": STAGES[stage], "colour": place, "share": share, "text": number(share, "share")}
            for place, (stage, share) in enumerate(stages.items()) if share >= 0.005
        ],
    }  # fmt: skip


def _why(evidence: Mapping[str, Any]) -> str:
    figure = evidence["figure"]
    text, form = FIGURES.get(figure, (figure.replace("_", " "), "share" if figure.endswith("_share") else "number"))
    if figure.startswith("interest: "):
        text, form = f"of their interest is {figure.removeprefix('interest: ')}", "share"
    told = f"{number(evidence['value'], form)} {text}; the shop: {number(evidence['shop'], form)}"
    if "nearest_like" in evidence:
        told += f"; the nearest alike: {number(evidence['nearest_like'], form)}"
    return told


def _rule_text(rule: Mapping[str, Any] | None) -> str:
    if rule is None:
        return "No short rule tells them from the others."
    told = rule["text"][0].upper() + rule["text"][1:]
    if rule["precision"] == rule["coverage"] == 1:
        return f"{told}."
    precision, coverage = (number(rule[key], "share") for key in ("precision", "coverage"))
    return f"{told}. Holds for {coverage} of them; of those for whom it holds, {precision} are here."


def _when(figures: Mapping[str, float]) -> str:
    """The busiest part of the day, and weekends; nothing where the log knows days alone, or but some hours."""
    parts = {part: figures.get(f"{part}_share", 0.0) for part in ("night", "morning", "afternoon", "evening")}
    busiest = max(parts, key=lambda part: parts[part])
    if not 0 < parts[busiest] < 1:
        return ""
    weekends = number(figures.get("weekend_share", 0.0), "share")
    return f"Most visits in the {busiest} ({number(parts[busiest], 'share')}, in UTC); {weekends} at weekends."


def _stability_text(segment: Mapping[str, Any]) -> str:
    value = segment["stability"]
    if value is None:
        return ""
    advice = "" if segment["is_stable"] else " Do not build a campaign on it alone."
    word = segment["stability_word"].capitalize()
    return f"{word}: found again to {value:.0%} when parts of the customers are clustered anew.{advice}"


def _heat_map(clustered: list[dict[str, Any]], lifts: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, Any]:
    shown = [one for one in clustered if not one["is_small"]]
    ids = [one["segment_id"] for one in shown]
    columns = list(lifts.columns[:MAX_HEAT_COLUMNS]) if ids else []
    inside = lifts.loc[ids, columns]
    return {
        "categories": [labels[column] for column in columns],
        "rows": [
            {
                "name": shown_name(one),
                "cells": [_cell(float(inside.loc[one["segment_id"], column])) for column in columns],
            }
            for one in shown
        ],
    }


def _cell(lift: float) -> dict[str, Any]:
    if np.isnan(lift):
        return {"text": "–", "lift": None, "percent": 0, "kind": "more"}
    strength = min(abs(np.log2(max(lift, 1e-3))) / 2.0, 1.0)
    return {
        "text": f"{lift:.1f}",
        "lift": lift,
        "percent": round(100 * strength),
        "kind": "more" if lift >= 1 else "less",
    }


def _counted(by_rule: Mapping[str, int], read: int) -> list[dict[str, str]]:
    return [
        {"count": f"{count:,}", "share": number(count / max(read, 1), "share"), "text": RULES[rule]}
        for rule, count in by_rule.items()
        if count
    ]


def _quality_texts(quality: Mapping[str, Any], clustered: list[dict[str, Any]]) -> list[str]:
    if quality["algorithm"] == "standing":
        return ["Each customer is in the segment of their lifecycle stage, by rule.", *quality["notes"]]
    how = (
        "nearest of its centres (KMeans)"
        if quality["algorithm"] == "kmeans"
        else "vote of its neighbours in dense regions (HDBSCAN)"
    )
    texts = [f"Each customer is in the segment of the {how}, by interests, value, journey and habits together."]
    if quality["choice_reason"]:
        texts.append(quality["choice_reason"])
    stable = [one for one in clustered if one["is_stable"]]
    texts.append(
        f"Stability: {len(stable)} of {len(clustered)} segments come back when parts of the customers are clustered "
        f"anew (on average to {quality['stability']:.0%})."
    )
    silhouette = quality["silhouette"]
    if silhouette is not None:
        word = (
            "clearly apart" if silhouette > 0.5 else "apart with some overlap" if silhouette > 0.25 else "overlapping"
        )
        texts.append(
            f"Silhouette {silhouette:.2f} of at most 1: segments are {word}. Customers are a continuum; borders "
            "between segments are where one was drawn, not where one was found."
        )
    if quality["rules_fidelity"] is not None:
        texts.append(
            f"The rules on the cards, taken together, put {quality['rules_fidelity']:.0%} of customers into their "
            "segment. They describe segments; who is in one is decided by all of the profile."
        )
    return [*texts, *quality["notes"]]
