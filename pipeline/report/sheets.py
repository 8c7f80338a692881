"""The summary of a run -> the tables of its workbook, in the language of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.report.pages.facet_table import facet_table
from pipeline.report.texts.wording import wording

SIZES = ("customer_count", "customer_share", "spend_share")
"""Told on the sheet of segments; beside the shop's they say nothing more."""
MONEY = ("spend_per_customer", "paid_per_customer", "average_order_value")
TEXTS = Path(__file__).with_suffix(".yaml")
Cell = Any
"""A value, or a value with the format it has instead of its column's."""


@dataclass(frozen=True)
class Sheet:
    """A table of the workbook.

    Attributes
    ----------
    columns : dict of str to str
        Heading -> format, one of `pipeline.report.workbook.FORMATS`.
    is_map : bool
        Whether numbers are coloured by how far they lie from 1.
    said : tuple of int
        Columns whose texts are ours, and are told in the language of the workbook.
    frozen : int
        Columns that stay in sight.
    """

    name: str
    about: str
    columns: dict[str, str]
    rows: list[tuple[Cell, ...]]
    is_map: bool = False
    said: tuple[int, ...] = ()
    frozen: int = 1


def sheets(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> list[Sheet]:
    """All tables of a run; the first says what the others are."""
    tables = [
        _segments(summary),
        _figures(summary),
        _interests(summary),
        *_crossing(summary),
        _lineage(summary, lineage),
        _quality(summary),
        _data_quality(summary),
        _playbook(summary),
    ]
    say, told = words(summary["language"]), wording(summary["language"], timezone=_zone(summary))
    about = say(
        "Customer segments of run {run}, as of {as_of}; customers: {customers}. No customer is named here. Of a group "
        "too small for more (naming.min_group in params.yaml) only the size is told."
    ).format(
        run=summary["run_id"],
        as_of=told.moment(summary["as_of"]),
        customers=told.whole(summary["customer_count"]),
    )
    listed: list[tuple[Cell, ...]] = [(say(one.name), len(one.rows), say(one.about)) for one in tables]
    columns = {"Sheet": "text", "Rows": "count", "What it says": "text"}
    first = Sheet("README", about, columns, [(say("README"), None, about), *listed])
    return [_in_words(one, say) for one in (first, *tables)]


def _zone(summary: Mapping[str, Any]) -> str:
    return str(summary.get("method", {}).get("timezone", "UTC"))


@cache
def _texts() -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return texts


def words(language: str) -> Callable[[str], str]:
    """English -> the same in a language; what has no translation, as a segment's name has none, stays."""
    return lambda text: _texts().get(text, {}).get(language, text)


def _in_words(table: Sheet, say: Callable[[str], str]) -> Sheet:
    columns = {say(title): form for title, form in table.columns.items()}
    rows = [tuple(say(cell) if place in table.said else cell for place, cell in enumerate(row)) for row in table.rows]
    return replace(table, name=say(table.name), about=say(table.about), columns=columns, rows=rows)


def _segments(summary: Mapping[str, Any]) -> Sheet:
    columns = {
        **{"Segment id": "text", "Segment": "text", "Facet": "text"},
        **{"Archetype (key)": "text", "Grouped by rule": "flag"},
        **{"Customers": "count", "Share of customers": "share", "Share of spend": "share"},
        **{"Paid for orders": "money", "Of it given back": "money"},
        **{"Stability": "share", "Stable": "flag", "Interests": "text"},
        **{"Rule": "text", "Rule: precision": "share", "Rule: coverage": "share"},
    }
    rows = []
    for one in summary["segments"]:
        size = (one["customer_count"], one["customer_share"])
        which = (one["segment_id"], one["name"], _facet(one.get("facet"), summary))
        if one["is_small"]:
            rows.append((*which, None, one["is_standing"], *size, *[None] * 9))
            continue
        rule = one["rule"] or {}
        found = wording(summary["language"]).categories(one)
        stable = one["is_stable"] if one["stability"] is not None else None
        text = wording(summary["language"], summary.get("currency")).conditions(rule) if rule else None
        told = (one["stability"], stable, found, text, rule.get("precision"), rule.get("coverage"))
        kind = (one["archetype"], one["is_standing"])
        rows.append((*which, *kind, *size, one["spend_share"], *_money(one), *told))
    about = (
        "The segments in order of value: how large they are, how sure, and the rule that tells them in short. Spend is "
        "what was paid less what was given back."
    )
    return Sheet("Segments", about, columns, rows, frozen=2)


def _facet(name: str | None, summary: Mapping[str, Any]) -> str | None:
    """What a facet is called; one of another name than ours bears its own."""
    told = wording(summary["language"])
    return told(f"facet.{name}") if f"facet.{name}" in told.texts else name


def _money(segment: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """What its customers paid, and what was given back of it; None where few did, one did most, or it was not kept."""
    figures = segment["figures"]
    if segment["spend_share"] is None or "paid_per_customer" not in figures:
        return None, None
    paid = figures["paid_per_customer"] * segment["customer_count"]
    return paid, paid - figures["spend_per_customer"] * segment["customer_count"]


def _figures(summary: Mapping[str, Any]) -> Sheet:
    words, rows = wording(summary["language"]), []
    shops = {one["name"]: one.get("shop", summary["shop"]) for one in summary.get("facets", ())}
    for one in summary["segments"]:
        of_all = shops.get(one.get("facet"), summary["shop"])
        told = {} if one["is_small"] else {name: value for name, value in one["figures"].items() if name not in SIZES}
        for name, value in told.items():
            # A shop without searches has no figure of them.
            if shop := of_all.get(name):
                form = _form(name)
                figure = (words.figure(name), (value, form), (shop, form), value / shop, name)
                rows.append((one["segment_id"], one["name"], *figure))
    columns = {
        **{"Segment id": "text", "Segment": "text", "Figure": "text"},
        **{"They": "number", "The shop": "number", "Times the shop's": "times", "Key in params.yaml": "text"},
    }
    about = "Each figure of each segment compared with that of all customers segmented in the same facet (the shop)."
    return Sheet("Figures", about, columns, rows, frozen=2)


def _form(figure: str) -> str:
    """The format of a figure, by its unit."""
    if figure.endswith(("_share", "_rate")):
        return "share"
    return "money" if figure in MONEY else "number"


def _interests(summary: Mapping[str, Any]) -> Sheet:
    shown = [one for one in summary["segments"] if not one["is_small"] and not one["is_standing"]]
    words = wording(summary["language"])
    rows = [
        (words.category(one["category"]), *(one["lifts"].get(segment["segment_id"]) for segment in shown))
        for one in summary["interests"]
    ]
    about = (
        "Times the shop's: how strong the interest of each segment in each category is, beside the whole shop's at the "
        "same times. Empty: not sure, as too few customers show it or it is too near the shop's."
    )
    titles = dict.fromkeys(f"{one['name']} ({one['segment_id']})" for one in shown)
    return Sheet("Interests", about, {"Category": "text", **dict.fromkeys(titles, "times")}, rows, is_map=True)


def _crossing(summary: Mapping[str, Any]) -> list[Sheet]:
    """Customers in each pair of segments of two facets, a row a pair; no sheet of one facet."""
    table = facet_table(summary)
    if table is None:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            *(column["segment_id"], column["name"], row["segment_id"], row["name"]),
            *(one.count, one.spend_share, one.lift, None if one.lift is None else one.is_sure),
        )
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, one in zip(table.columns, cells, strict=True)
    ]
    columns = {
        **{"Segment id": "text", "Segment": "text", "Interest segment id": "text", "Interest segment": "text"},
        **{"Customers": "count", "Share of spend": "share", "Times chance": "times", "Beyond chance": "flag"},
    }
    about = (
        "How many customers are in both of two segments, and how many times as many as if behaviour and interests had "
        "nothing to do with each other. Empty: hidden, as the group is too small or would give another one away."
    )
    return [Sheet("Behaviour and interests", about, columns, rows, frozen=2)]


def _lineage(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = [
        (
            *(moment(row["as_of"]), row["run_id"], row["segment_id"], name),
            *(row["verdict"], row["is_here"], row["jaccard"], ", ".join(row["akin"])),
        )
        for row, name in zip(lineage, _names_then(summary, lineage), strict=True)
    ]
    columns = {
        **{
            "As of (UTC)": "moment",
            "Run": "text",
            "Segment id": "text",
            "Segment": "text",
            "What became of it": "text",
        },
        **{"Is here": "flag", "Customers in common": "share", "Akin to": "text"},
    }
    about = (
        "What became of each segment from training to training. Customers in common: of those in the segment then or "
        "before, the share in both (Jaccard). Names are those of each training."
    )
    return Sheet("Lineage", about, columns, rows, said=(4,))


def _names_then(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> Iterator[str | None]:
    """What each row's segment was called at its training; None where that was not kept."""
    now = {one["segment_id"]: one["name"] for one in summary["segments"]}
    called: dict[str, str | None] = {}
    for row in lineage:
        segment_id = row["segment_id"]
        then = row.get("names", {}).get(summary["language"]) or row.get("name")
        # One that is gone is called as it was before; those of this run as on the other sheets.
        called[segment_id] = then or called.get(segment_id)
        yield (row["run_id"] == summary["run_id"] and now.get(segment_id)) or called[segment_id]


def _quality(summary: Mapping[str, Any]) -> Sheet:
    facets = summary.get("facets") or [{"name": None, "quality": summary["quality"]}]
    rows = [
        (name, (value, _quality_form(name, value)), _facet(one["name"], summary))
        for one in facets
        for name, value in one["quality"].items()
        if isinstance(value, int | float | str) and value != ""
    ]
    if summary["language"] == "en":  # as the training told them
        rows += [("note", (text, "text"), None) for text in summary["quality"]["notes"]]
    else:
        rows = [row for row in rows if row[0] != "choice_reason"]
    about = "How the segments were found, and how far to trust them; MLflow says of each figure what is better."
    return Sheet("Quality", about, {"Figure": "text", "Value": "number", "Facet": "text"}, rows, said=(0,))


def _quality_form(name: str, value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "share" if "share" in name else "count" if isinstance(value, int) else "number"


def _data_quality(summary: Mapping[str, Any]) -> Sheet:
    reading, words = summary["reading"], wording(summary["language"])
    read = reading["read_count"]
    counts = [
        *(("rows", key.removesuffix("_count"), reading[key]) for key in ("read_count", "accepted_count")),
        ("rows", "set aside", reading["rejected_count"]),
        (
            "rows",
            "repeat another; " + ("left out" if reading["duplicates_dropped"] else "kept"),
            reading["duplicate_count"],
        ),
        *(("set aside", words(f"finding.{rule}"), count) for rule, count in reading["rejected_by_rule"].items()),
        *(("kept", words(f"finding.{rule}"), count) for rule, count in reading["noted_by_rule"].items()),
        *(("events", words(f"event.{kind}"), count) for kind, count in reading["event_types"].items()),
        *(("events of a type in no list", kind, count) for kind, count in reading["other_event_types"].items()),
    ]
    rows: list[tuple[Cell, ...]] = [(kind, what, (n, "count"), n / read if read else None) for kind, what, n in counts]
    rows += [
        ("events", what, (moment(reading[key]) if reading[key] else None, "moment"), None)
        for what, key in (("the first (UTC)", "first_event_at"), ("the last before as_of (UTC)", "last_event_at"))
    ]
    columns = {"Kind": "text", "What": "text", "Count": "count", "Share of rows": "share"}
    about = "What was read, what was set aside by which rule, and what was kept though odd."
    return Sheet("Data quality", about, columns, rows, said=(0, 1))


def _playbook(summary: Mapping[str, Any]) -> Sheet:
    language = summary["language"]
    rows = [
        (
            *(one["segment_id"], one["name"], one["customer_count"]),
            *(one[texts].get(language) or None for texts in ("playbook", "avoid")),
        )
        for one in summary["segments"]
        if one["is_stable"] and not one["is_small"]
    ]
    columns = {
        "Segment id": "text",
        "Segment": "text",
        "Customers": "count",
        "What to do": "text",
        "What to avoid": "text",
    }
    about = "What to do with each segment, and what not to; not told of those that are unstable or too small."
    return Sheet("Playbook", about, columns, rows, frozen=2)


def moment(text: str) -> datetime:
    """UTC without a zone, as spreadsheets have it."""
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=None)
