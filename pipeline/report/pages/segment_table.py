"""The table of all segments of a facet: one row per segment, with values to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.disclosure import describes_enough
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary
from pipeline.report.texts.formats import form_of
from pipeline.report.texts.wording import Wording


@dataclass(frozen=True)
class TableCell:
    """A figure as text; ``value``: what to sort by, None if it is not known; ``share``: the part that is filled."""

    text: str
    value: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class TableRow:
    """A segment; ``action`` is what to do, empty if there is nothing."""

    segment: Segment
    name: str
    cells: Sequence[TableCell]
    action: str


@dataclass(frozen=True)
class SegmentTable:
    """The segments of a facet; ``columns``: the headings of their cells."""

    columns: Sequence[str]
    rows: Sequence[TableRow]

    @property
    def has_actions(self) -> bool:
        """Whether any row says what to do."""
        return any(row.action for row in self.rows)


def segment_table(segments: Sequence[Segment], summary: Summary, words: Wording) -> SegmentTable:
    """Size, revenue, average order, when last seen, trend and action; without columns that no segment has."""
    days = next((segment.retention.days for segment in segments if segment.retention), None)
    columns = {
        words("sizes.customers"): [
            TableCell(words.size(item.customer_count, is_small=item.is_small), item.customer_count) for item in segments
        ],
        words("sizes.share"): [_share(item.customer_share, words) for item in segments],
    }
    if summary.has_spend:
        columns[words("sizes.spend")] = [_share(item.spend_share, words) for item in segments]
        columns[words("sizes.order")] = [_figure(item, "average_order_value", summary, words) for item in segments]
    columns[words("sizes.seen")] = [_figure(item, "days_since_last_event", summary, words) for item in segments]
    if days is not None:
        columns[words("sizes.trend", days=words("days", count=days))] = [_trend(item, words) for item in segments]
    shown = {title: cells for title, cells in columns.items() if any(cell.value is not None for cell in cells)}
    rows = [
        TableRow(item, words.name(item), cells, _action(item, words.language))
        for item, *cells in zip(segments, *shown.values(), strict=True)
    ]
    return SegmentTable(list(shown), rows)


def _share(share: float | None, words: Wording) -> TableCell:
    return TableCell(words.number(share, "share"), share, share)


def _figure(segment: Segment, name: str, summary: Summary, words: Wording) -> TableCell:
    """A mean; empty if it is not known, or is that of a few of the segment's customers only."""
    value = segment.figures.get(name)
    if not value or not describes_enough(name, segment.figures, summary.method.min_known_share):
        return TableCell("–")
    return TableCell(words.number(value, form_of(name)), value)


def _trend(segment: Segment, words: Wording) -> TableCell:
    flow = segment.retention.net_share if segment.retention else None
    return TableCell(words.signed(flow), flow)


def _action(segment: Segment, language: str) -> str:
    """The playbook; empty for a segment that is too unstable, or too small, to act on."""
    return segment.playbook.get(language, "") if segment.is_stable and not segment.is_small else ""
