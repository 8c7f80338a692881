"""The sheets about the training: what became of segments, how reliable they are, and the rows that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.report.lineage import LineageRecord
from pipeline.report.summary import Summary
from pipeline.report.texts.wording import wording
from pipeline.report.workbook.table import Cell, Sheet, moment

VERDICTS = {"survived": "same"}
"""Verdict of the lineage -> the word that the report uses."""
SHARES = ("stability", "rules_fidelity")
"""Figures of the quality that are shares of customers, as in the report."""


def lineage_sheet(summary: Summary, lineage: Sequence[LineageRecord]) -> Sheet:
    """What became of each segment from training to training."""
    rows: list[tuple[Cell, ...]] = [
        (
            *(moment(row.as_of), row.run_id, row.segment_id, name),
            *(VERDICTS.get(row.verdict, row.verdict), row.is_here, row.jaccard, ", ".join(row.related)),
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
        **{"Present": "flag", "Customers in common": "score", "Related segments": "text"},
    }
    about = (
        "What became of each segment from training to training. Customers in common: the share of the customers of "
        "either version that are in both (Jaccard). Each training is shown with the names it used."
    )
    return Sheet("Lineage", about, columns, rows, translated=(4,))


def _names_at_training(summary: Summary, lineage: Sequence[LineageRecord]) -> Iterator[str | None]:
    """The name of each row's segment at its training; None where it was not stored."""
    current_names = {segment.segment_id: segment.name for segment in summary.segments}
    last_names: dict[str, str | None] = {}
    for row in lineage:
        segment_id = row.segment_id
        name = row.names.get(summary.language) or row.name
        # A segment that is gone keeps its last name; segments of this run have the names of the other sheets.
        last_names[segment_id] = name or last_names.get(segment_id)
        yield (row.run_id == summary.run_id and current_names.get(segment_id)) or last_names[segment_id]


def quality_sheet(summary: Summary) -> Sheet:
    """How the segments of each facet were built, and how reliable they are."""
    words = wording(summary.language)
    rows: list[tuple[Cell, ...]] = [
        (name, (value, _quality_form(name, value)), words.facet(facet.name))
        for facet in summary.facets
        for name, value in facet.quality
        if isinstance(value, int | float | str) and value != ""
    ]
    if summary.language == "en":  # notes are stored in English only
        rows += [("note", (text, "text"), None) for text in summary.quality.notes]
    else:
        rows = [row for row in rows if row[0] != "choice_reason"]
    about = (
        "How the segments were built, and how reliable they are. MLflow shows which values of each figure are better."
    )
    return Sheet("Quality", about, {"Figure": "text", "Value": "score", "Facet": "text"}, rows, translated=(0,))


def _quality_form(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return "text"
    return "share" if "share" in name or name in SHARES else "count" if isinstance(value, int) else "score"


def data_quality_sheet(summary: Summary) -> Sheet:
    """Rows that were read, rejected and noted."""
    reading, words = summary.reading, wording(summary.language)
    read = reading.read_count
    counts = [
        ("rows", "read", reading.read_count),
        ("rows", "accepted", reading.accepted_count),
        ("rows", "rejected", reading.rejected_count),
        *(("rows", group, count) for group, count in reading.left_out.items()),
        (
            "rows",
            "repeat others; " + ("removed" if reading.duplicates_dropped else "kept"),
            reading.duplicate_count,
        ),
        *(("rejected", words(f"finding.{rule}"), count) for rule, count in reading.rejected_by_rule.items()),
        *(("noted", words(f"finding.{rule}"), count) for rule, count in reading.noted_by_rule.items()),
        *(("actions", words(f"event.{kind}"), count) for kind, count in reading.event_types.items()),
        *(("actions of other types", kind, count) for kind, count in reading.other_event_types.items()),
    ]
    rows: list[tuple[Cell, ...]] = [
        (kind, what, (count, "count"), count / read if read else None) for kind, what, count in counts
    ]
    rows += [
        ("actions", what, (moment(at) if at else None, "moment"), None)
        for what, at in (("first (UTC)", reading.first_event_at), ("last before as_of (UTC)", reading.last_event_at))
    ]
    columns = {"Kind": "text", "What": "text", "Count": "count", "Share of rows": "share"}
    about = "Rows that were read, rows that were rejected and why, and rows that were kept but noted."
    return Sheet("Data quality", about, columns, rows, translated=(0, 1))
