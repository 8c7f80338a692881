"""Sections of params.yaml for reading the log: types and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from features.events import EventType
from pipeline.config.types import Count, Section, Share, Timezone


def _known_encoding(value: str) -> str:
    try:
        "a".encode("utf-8" if value == "auto" else value)
    except LookupError:
        raise ValueError("expected auto or an encoding, such as utf-8, utf-16, cp1251, cp1252 or latin-1") from None
    return value


def _one_sign(value: str) -> str:
    if value != "auto" and (len(value) != 1 or value in '"\r\n'):
        raise ValueError('expected auto or one sign, such as ";" or "\\t"')
    return value


def _named_columns(value: Any) -> Any:
    names = value if isinstance(value, list) else []
    are_texts = bool(names) and all(isinstance(name, str) and name for name in names)
    if value is not True and not (are_texts and len({name.lower() for name in names}) == len(names)):
        raise ValueError("expected true, or if files have no header the name of each column, such as [id, at, action]")
    return value


class Table(Section):
    """Location of a table, how its files are written, and the names of its columns."""

    path: str | list[str] | None = None
    query: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    format: Literal["auto", "parquet", "csv", "json", "excel"] = "auto"
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "auto"
    delimiter: Annotated[str, AfterValidator(_one_sign)] = "auto"
    header: Annotated[Literal[True] | list[str], BeforeValidator(_named_columns)] = True
    sheet: str | None = None

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
    category_separator: Annotated[str, Field(min_length=1)] = " > "
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
