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
"""Shown on the sheet of segments; comparing them with all customers adds nothing."""
MONEY = ("spend_per_customer", "paid_per_customer", "average_order_value")
VERDICTS = {"survived": "same"}
"""Verdict of the lineage -> the word that the report uses."""
TEXTS = Path(__file__).with_suffix(".yaml")
Cell = Any
"""A value, or a tuple of a value and the format that replaces its column's."""


@dataclass(frozen=True)
class Sheet:
    """A table of the workbook.

    Attributes
    ----------
    columns : dict of str to str
        Heading -> format, one of `pipeline.report.workbook.FORMATS`.
    is_heat_map : bool
        Whether numbers are coloured by their distance from 1.
    translated : tuple of int
        Columns whose texts are translated into the language of the workbook.
    frozen : int
        Columns that stay visible while scrolling.
    """

    name: str
    about: str
    columns: dict[str, str]
    rows: list[tuple[Cell, ...]]
    is_heat_map: bool = False
    translated: tuple[int, ...] = ()
    frozen: int = 1


def sheets(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> list[Sheet]:
    """All tables of a run; the first describes the others."""
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
    translate = translator(summary["language"])
    words = wording(summary["language"], timezone=_timezone(summary))
    about = translate(
        "Customer segments of run {run}, as of {as_of}. Customers: {customers}. The workbook contains no customer IDs. "
        "For groups smaller than naming.min_group (params.yaml), only the size is shown."
    ).format(
        run=summary["run_id"],
        as_of=words.moment(summary["as_of"]),
        customers=words.whole(summary["customer_count"]),
    )
    listed: list[tuple[Cell, ...]] = [
        (translate(table.name), len(table.rows), translate(table.about)) for table in tables
    ]
    columns = {"Sheet": "text", "Rows": "count", "Description": "text"}
    first = Sheet("README", about, columns, [(translate("README"), None, about), *listed])
    return [_translated(table, translate) for table in (first, *tables)]


def _timezone(summary: Mapping[str, Any]) -> str:
    return str(summary.get("method", {}).get("timezone", "UTC"))


@cache
def _texts() -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return texts


def translator(language: str) -> Callable[[str], str]:
    """English text -> the same in a language; a text without a translation, such as a segment's name, is kept."""
    return lambda text: _texts().get(text, {}).get(language, text)


def _translated(table: Sheet, translate: Callable[[str], str]) -> Sheet:
    columns = {translate(title): form for title, form in table.columns.items()}
    rows = [
        tuple(translate(cell) if column in table.translated else cell for column, cell in enumerate(row))
        for row in table.rows
    ]
    return replace(table, name=translate(table.name), about=translate(table.about), columns=columns, rows=rows)


def _segments(summary: Mapping[str, Any]) -> Sheet:
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Facet": "text"},
        **{"Archetype (key)": "text", "Grouped by rule": "flag"},
        **{"Customers": "count", "Share of customers": "share", "Share of revenue": "share"},
        **{"Paid for orders": "money", "Refunds": "money"},
        **{"Stability": "share", "Stable": "flag", "Distinctive interests": "text"},
        **{"Rule of thumb": "text", "Rule: precision": "share", "Rule: coverage": "share"},
    }
    rows = []
    words = wording(summary["language"], summary.get("currency"))
    for segment in summary["segments"]:
        size = (segment["customer_count"], segment["customer_share"])
        identity = (segment["segment_id"], segment["name"], _facet_name(segment.get("facet"), summary))
        if segment["is_small"]:
            rows.append((*identity, None, segment["is_standing"], *size, *[None] * 9))
            continue
        rule = segment["rule"] or {}
        is_stable = segment["is_stable"] if segment["stability"] is not None else None
        stability = (segment["stability"], is_stable)
        conditions = (words.conditions(rule) if rule else None, rule.get("precision"), rule.get("coverage"))
        kind = (segment["archetype"], segment["is_standing"])
        revenue = (segment["spend_share"], *_paid_and_refunded(segment))
        rows.append((*identity, *kind, *size, *revenue, *stability, words.categories(segment), *conditions))
    about = (
        "The segments in order of value, with their size, their stability and a short rule that describes them. "
        "Revenue is what was paid for orders, minus refunds."
    )
    return Sheet("Segments", about, columns, rows, frozen=2)


def _facet_name(name: str | None, summary: Mapping[str, Any]) -> str | None:
    """The label of a facet; its own name where there is no text for it."""
    words = wording(summary["language"])
    return words(f"facet.{name}") if f"facet.{name}" in words.texts else name


def _paid_and_refunded(segment: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """What its customers paid and what was refunded; None where hidden for privacy, or not stored with the run."""
    figures = segment["figures"]
    if segment["spend_share"] is None or "paid_per_customer" not in figures:
        return None, None
    paid = figures["paid_per_customer"] * segment["customer_count"]
    return paid, paid - figures["spend_per_customer"] * segment["customer_count"]


def _figures(summary: Mapping[str, Any]) -> Sheet:
    words, rows = wording(summary["language"]), []
    shop_figures = {facet["name"]: facet.get("shop", summary["shop"]) for facet in summary.get("facets", ())}
    for segment in summary["segments"]:
        if segment["is_small"]:
            continue
        overall = shop_figures.get(segment.get("facet"), summary["shop"])
        for name, value in segment["figures"].items():
            # A shop without searches has no figures about searches.
            if name not in SIZES and (shop := overall.get(name)):
                form = _form(name)
                figure = (words.figure(name), (value, form), (shop, form), value / shop, name)
                rows.append((segment["segment_id"], segment["name"], *figure))
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Figure": "text"},
        **{
            "This segment": "number",
            "All segmented customers": "number",
            "Ratio": "times",
            "Key in params.yaml": "text",
        },
    }
    about = "Each figure of each segment, compared with all customers segmented in the same facet."
    return Sheet("Figures", about, columns, rows, frozen=2)


def _form(figure: str) -> str:
    """The format of a figure, by its unit."""
    if figure.endswith(("_share", "_rate")):
        return "share"
    return "money" if figure in MONEY else "number"


def _interests(summary: Mapping[str, Any]) -> Sheet:
    shown = [segment for segment in summary["segments"] if not segment["is_small"] and not segment["is_standing"]]
    words = wording(summary["language"])
    rows = [
        (words.category(interest["category"]), *(interest["lifts"].get(segment["segment_id"]) for segment in shown))
        for interest in summary["interests"]
    ]
    about = (
        "How strong the interest of each segment in each category is, as a multiple of the average over the same "
        "period. Empty: no reliable difference, or too few customers."
    )
    titles = dict.fromkeys(f"{segment['name']} ({segment['segment_id']})" for segment in shown)
    return Sheet("Interests", about, {"Category": "text", **dict.fromkeys(titles, "times")}, rows, is_heat_map=True)


def _crossing(summary: Mapping[str, Any]) -> list[Sheet]:
    """Customers in each pair of segments of two facets, one row per pair; no sheet if there is one facet."""
    table = facet_table(summary)
    if table is None:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            *(column["segment_id"], column["name"], row["segment_id"], row["name"]),
            *(cell.count, cell.spend_share, cell.lift, None if cell.lift is None else cell.is_significant),
        )
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
    ]
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Interest segment ID": "text", "Interest segment": "text"},
        **{
            "Customers": "count",
            "Share of revenue": "share",
            "Compared with chance": "times",
            "Statistically significant": "flag",
        },
    }
    about = (
        "How many customers are in both segments, compared with chance: 1 is the number expected if behaviour and "
        "interests were independent. Empty: hidden, because the group is too small or a hidden "
        "one could be worked out from it."
    )
    return [Sheet("Behaviour and interests", about, columns, rows, frozen=2)]


def _lineage(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = [
        (
            *(moment(row["as_of"]), row["run_id"], row["segment_id"], name),
            *(VERDICTS.get(row["verdict"], row["verdict"]), row["is_here"], row["jaccard"], ", ".join(row["related"])),
        )
        for row, name in zip(lineage, _names_at_training(summary, lineage), strict=True)
    ]
    columns = {
        **{
            "As of (UTC)": "moment",
            "Run": "text",
            "Segment ID": "text",
            "Segment": "text",
            "Change": "text",
        },
        **{"Present": "flag", "Customers in common": "share", "Related segments": "text"},
    }
    about = (
        "What became of each segment from training to training. Customers in common: the share of the customers of "
        "either version that are in both (Jaccard). Each training is shown with the names it used."
    )
    return Sheet("Lineage", about, columns, rows, translated=(4,))


def _names_at_training(summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> Iterator[str | None]:
    """The name of each row's segment at its training; None where it was not stored."""
    current_names = {segment["segment_id"]: segment["name"] for segment in summary["segments"]}
    last_names: dict[str, str | None] = {}
    for row in lineage:
        segment_id = row["segment_id"]
        name = row.get("names", {}).get(summary["language"]) or row.get("name")
        # A segment that is gone keeps its last name; segments of this run have the names of the other sheets.
        last_names[segment_id] = name or last_names.get(segment_id)
        yield (row["run_id"] == summary["run_id"] and current_names.get(segment_id)) or last_names[segment_id]


def _quality(summary: Mapping[str, Any]) -> Sheet:
    facets = summary.get("facets") or [{"name": None, "quality": summary["quality"]}]
    rows = [
        (name, (value, _quality_form(name, value)), _facet_name(facet["name"], summary))
        for facet in facets
        for name, value in facet["quality"].items()
        if isinstance(value, int | float | str) and value != ""
    ]
    if summary["language"] == "en":  # notes are stored in English only
        rows += [("note", (text, "text"), None) for text in summary["quality"]["notes"]]
    else:
        rows = [row for row in rows if row[0] != "choice_reason"]
    about = (
        "How the segments were built, and how reliable they are. MLflow shows which values of each figure are better."
    )
    return Sheet("Quality", about, {"Figure": "text", "Value": "number", "Facet": "text"}, rows, translated=(0,))


def _quality_form(name: str, value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "share" if "share" in name else "count" if isinstance(value, int) else "number"


def _data_quality(summary: Mapping[str, Any]) -> Sheet:
    reading, words = summary["reading"], wording(summary["language"])
    read = reading["read_count"]
    counts = [
        *(("rows", key.removesuffix("_count"), reading[key]) for key in ("read_count", "accepted_count")),
        ("rows", "rejected", reading["rejected_count"]),
        (
            "rows",
            "repeat others; " + ("removed" if reading["duplicates_dropped"] else "kept"),
            reading["duplicate_count"],
        ),
        *(("rejected", words(f"finding.{rule}"), count) for rule, count in reading["rejected_by_rule"].items()),
        *(("noted", words(f"finding.{rule}"), count) for rule, count in reading["noted_by_rule"].items()),
        *(("actions", words(f"event.{kind}"), count) for kind, count in reading["event_types"].items()),
        *(("actions of other types", kind, count) for kind, count in reading["other_event_types"].items()),
    ]
    rows: list[tuple[Cell, ...]] = [
        (kind, what, (count, "count"), count / read if read else None) for kind, what, count in counts
    ]
    rows += [
        ("actions", what, (moment(reading[key]) if reading[key] else None, "moment"), None)
        for what, key in (("first (UTC)", "first_event_at"), ("last before as_of (UTC)", "last_event_at"))
    ]
    columns = {"Kind": "text", "What": "text", "Count": "count", "Share of rows": "share"}
    about = "Rows that were read, rows that were rejected and why, and rows that were kept but noted."
    return Sheet("Data quality", about, columns, rows, translated=(0, 1))


def _playbook(summary: Mapping[str, Any]) -> Sheet:
    language = summary["language"]
    rows = [
        (
            *(segment["segment_id"], segment["name"], segment["customer_count"]),
            *(segment[texts].get(language) or None for texts in ("playbook", "avoid")),
        )
        for segment in summary["segments"]
        if segment["is_stable"] and not segment["is_small"]
    ]
    columns = {
        "Segment ID": "text",
        "Segment": "text",
        "Customers": "count",
        "What to do": "text",
        "What to avoid": "text",
    }
    about = "What to do with each segment and what to avoid. Unstable segments and small groups are not listed."
    return Sheet("Playbook", about, columns, rows, frozen=2)


def moment(text: str) -> datetime:
    """A UTC time without its zone, because spreadsheets have no time zones."""
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=None)
