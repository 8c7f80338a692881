"""Sections of params.yaml for reading the log: types and bounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from features.events import EventType
from pipeline.config.types import Count, Section, Share, Timezone


class Table(Section):
    """Location of a table, and the names of its columns."""

    path: str | list[str] | None = None
    query: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_path_and_query(self) -> Table:
        if (self.path is None) == (self.query is None):
            raise ValueError("expected exactly one of `path` and `query`")
        return self


class TimedTable(Table):
    """A table with times."""

    time_format: str = "auto"
    timezone: Timezone = "UTC"


class EventsTable(TimedTable):
    """The log: one row per event."""

    event_types: dict[EventType, list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_once(self) -> EventsTable:
        seen: dict[str, EventType] = {}
        for event_type, names in self.event_types.items():
            for name in names:
                if name in seen:
                    raise ValueError(f"event type {name!r} is mapped to both {seen[name]} and {event_type}")
                seen[name] = event_type
        return self


class SourceParams(Section):
    """The tables to read."""

    events: EventsTable
    products: Table | None = None
    categories: Table | None = None
    customers: TimedTable | None = None
    summaries: Table | None = None
    category_separator: Annotated[str, Field(min_length=1)] = " > "
    category_aliases: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict
    )
    drop_duplicates: bool = False
    max_text_chars: Count = 10_000


class Threshold(Section):
    """Shares of rows above which Kindred warns (warn) and stops (error)."""

    warn: Share
    error: Share


class ChecksParams(Section):
    """A threshold per row rule."""

    unreadable_row: Threshold
    missing_customer_id: Threshold
    missing_event_type: Threshold
    unreadable_time: Threshold
    time_out_of_range: Threshold
    missing_product_id: Threshold
    unreadable_number: Threshold
    negative_price: Threshold
    negative_quantity: Threshold
    text_too_long: Threshold
    broken_encoding: Threshold
    unknown_product: Threshold
    without_category: Threshold
    discount_above_price: Threshold
    after_as_of: Threshold
