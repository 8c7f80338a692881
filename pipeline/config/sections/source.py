"""Sections of params.yaml for reading the log: types and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from features.events import EventType
from pipeline.config.types import Count, DatabaseVariable, Section, Share, Timezone


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
    table: str | None = None
    query: str | None = None
    uri: DatabaseVariable | None = None
    sql: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    format: Literal["auto", "parquet", "csv", "json", "excel"] = "auto"
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "auto"
    delimiter: Annotated[str, AfterValidator(_one_sign)] = "auto"
    header: Annotated[Literal[True] | list[str], BeforeValidator(_named_columns)] = True
    sheet: str | None = None

    @model_validator(mode="after")
    def _one_location(self) -> Table:
        if sum(place is not None for place in (self.path, self.table, self.query, self.sql)) != 1:
            raise ValueError("expected exactly one of `path`, `table`, `query` and `sql`")
        if (self.sql is None) != (self.uri is None):
            raise ValueError("expected `sql` (a SELECT) and `uri` (such as $SHOP_DATABASE) together")
        return self

    @model_serializer(mode="wrap")
    def _without_unset_database(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A table of files keeps the digest that it had before there were databases and tables of Spark."""
        unset = (*(("uri", "sql") if self.sql is None else ()), *(("table",) if self.table is None else ()))
        return {key: value for key, value in handler(self).items() if key not in unset}


class TimedTable(Table):
    """A table with times."""

    time_format: str = "auto"
    timezone: Timezone = "UTC"


class Statuses(Section):
    """Values of the column ``status`` whose rows are left out."""

    cancelled: list[str] = Field(default_factory=list)
    ignored: list[str] = Field(default_factory=list)


class EventsTable(TimedTable):
    """The log: one row per event."""

    event_types: dict[EventType, list[str]] = Field(default_factory=dict)
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    negative_rows: Literal["reject", "return"] = "reject"
    fill_by_order: list[str] | None = None
    statuses: Statuses = Statuses()

    @property
    def has_statuses(self) -> bool:
        """Whether rows of some statuses are left out."""
        return bool(self.statuses.cancelled or self.statuses.ignored)

    @model_validator(mode="after")
    def _separators_differ(self) -> EventsTable:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"expected different separators for `decimal` and `thousands`, got {self.decimal!r} twice")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> EventsTable:
        seen: dict[str, EventType] = {}
        for event_type, names in self.event_types.items():
            for name in names:
                if name in seen:
                    raise ValueError(f"event type {name!r} is mapped to both {seen[name]} and {event_type}")
                seen[name] = event_type
        return self


Normalisation = Literal["none", "trim", "whole", "lower", "email"]
NOT_CUSTOMERS = (
    *("0", "-1", "na", "n/a", "nan", "null", "none", "nil", "undefined"),
    *("unknown", "guest", "anonymous", "anon", "not set", "(not set)"),
)
"""What systems write where there is no customer."""


class IdsParams(Section):
    """How ids of customers are read."""

    normalise: Normalisation = "none"
    not_customers: tuple[str, ...] = NOT_CUSTOMERS

    @field_validator("not_customers", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        """YAML reads 0, null and true in a list as other types than text."""
        if not isinstance(value, list | tuple):
            return value
        names = ("null" if name is None else str(name).strip().lower() for name in value)
        return tuple(name for name in names if name)


class IdentitiesTable(TimedTable):
    """Ids that belong to one person: customer_id, alias_id, linked_at (optional)."""

    rule: Literal["last", "components"] = "last"
    largest_group: Count = 50
    on_large_group: Literal["error", "warn"] = "error"


class ExcludeParams(Section):
    """Customers and events that are left out of every reading. ``customer_ids`` may be the path of a file."""

    customer_ids: tuple[str, ...] | str = ()
    email_domains: tuple[str, ...] = ()
    where: str | None = None

    @field_validator("customer_ids", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        # Checked here, as pydantic's message would show the id.
        if isinstance(value, list | tuple) and not all(isinstance(each, str) for each in value):
            raise ValueError("expected ids in quotes, as YAML changes some numbers: it reads 0017 as 15")
        return value

    @field_validator("email_domains")
    @classmethod
    def _bare(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        domains = tuple(domain.strip().lower().removeprefix("@") for domain in value)
        if any("@" in domain for domain in domains):
            raise ValueError("expected domains, such as example.com. Whole addresses belong in customer_ids")
        return domains

    def redacted(self) -> ExcludeParams:
        """The same without ids and ``where``: nothing that is kept with a run or model may name a customer."""
        ids = self.customer_ids if isinstance(self.customer_ids, str) else ("***",) * len(self.customer_ids)
        where = None if self.where is None else "***"
        return self.model_copy(update={"customer_ids": ids, "where": where})


RepeatedWithin = Annotated[float, Field(gt=0, le=86_400)]
"""Seconds."""


class SourceParams(Section):
    """The tables to read."""

    events: EventsTable
    products: Table | None = None
    categories: Table | None = None
    customers: TimedTable | None = None
    identities: IdentitiesTable | None = None
    ids: IdsParams = IdsParams()
    exclude: ExcludeParams = ExcludeParams()
    rates: Table | None = None
    summaries: Table | None = None
    category_separator: Annotated[str, Field(min_length=1)] = " > "
    category_aliases: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict
    )
    drop_duplicates: bool | Literal["event_id"] | RepeatedWithin = False
    max_text_chars: Count = 10_000


class Threshold(Section):
    """Shares of rows above which Kindred warns (warn) and stops (error)."""

    warn: Share
    error: Share


class ChecksParams(Section):
    """A threshold per row rule."""

    unreadable_row: Threshold
    missing_customer_id: Threshold
    not_a_customer: Threshold = Threshold(warn=0.0, error=0.5)
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
