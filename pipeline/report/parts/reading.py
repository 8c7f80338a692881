"""What was read from the log, as a part of the summary of a training."""

from __future__ import annotations

from pydantic import Field

from pipeline.report.parts.segment import Part


class Reading(Part):
    """`pipeline.ingest.findings.summary.ReadingSummary`."""

    files: dict[str, int]
    read_count: int
    accepted_count: int
    rejected_count: int
    rejected_by_rule: dict[str, int]
    noted_by_rule: dict[str, int]
    duplicate_count: int
    duplicates_dropped: bool
    physical_line_count: int | None
    event_types: dict[str, int]
    unlisted_count: int
    other_event_types: dict[str, int]
    first_event_at: str
    last_event_at: str
    customer_count: int
    product_count: int
    digest: str
    warnings: list[str]
    forgotten_count: int = 0  # older runs have it; it tells that somebody was forgotten
    joined_count: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
