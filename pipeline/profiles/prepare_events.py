"""Prepares the events of a window: numbers customers, finds visits and maps categories to columns."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features import categories, interests, searches, sessions
from features.events import EventType, ObservationWindow, exact_sum, hashed
from features.profile import ProfileSpec
from models.category_cut import choose_columns
from pipeline.config.params import Params
from pipeline.config.sections.profiles import DecayParams
from pipeline.ingest.source import Source
from pipeline.stores.engines.engine import Engine

OBSERVED_COLUMNS = (
    "customer_id",
    "occurred_at",
    "event_type",
    "query",
    "channel",
    "session_key",
    "product_key",
    "column",
    "last_counted_at",
)

MAX_CHANNEL_CODES = 1_000

FROM_BEFORE = ("is_known_from_before", "is_buyer_from_before")


@dataclass(frozen=True)
class PreparedEvents:
    """The events of a window, ready for the feature expressions.

    Attributes
    ----------
    customers : table
        customer_name, customer_id (a number), is_known_from_before, is_buyer_from_before, last_counted_at.
    paths : table
        category_path, evidence, event_count.
    cut : CategoryCut
        The categories that are columns.
    columns : table
        category_path, column.
    events : expression
        All event columns, with customer numbers and the interest column.
    observed : table
        `OBSERVED_COLUMNS` of the events, with visits and normalised queries. Channels are in lower case, because they
        become column names, which a database does not distinguish by case.
    has_session_ids : bool
        Whether visits come from the log; otherwise they are derived from gaps.
    """

    customers: ir.Table
    paths: ir.Table
    cut: categories.CategoryCut
    columns: ir.Table
    events: ir.Table
    observed: ir.Table
    has_session_ids: bool


def prepare_events(
    engine: Engine, source: Source, params: Params, window: ObservationWindow, *, spec: ProfileSpec | None = None
) -> PreparedEvents:
    """Prepare the events of ``window``, with the categories of ``spec`` or those found in the events."""
    in_window = window.of(source.events)
    customers = _number_customers(engine, source, window, params)
    paths = engine.materialise(_evidence_by_path(in_window, source, window, params), "category_paths")
    cut = spec.cut if spec else fit_cut(paths, params.interests.max_categories)
    columns = engine.materialise(categories.category_columns(paths, cut), "category_columns")
    events = with_columns(with_customer_numbers(in_window, customers, "last_counted_at"), source, columns)
    has_session_ids = spec.has_session_ids if spec else _has_any(source.events, "session_id")
    keyed = sessions.with_session_key(events, has_session_ids=has_session_ids, gap_minutes=params.sessions.gap_minutes)
    # Numbers are grouped faster than texts.
    product = keyed.product_id.isnull().ifelse(ibis.null(), hashed(keyed.product_id))
    keyed = keyed.mutate(
        query=searches.normalised_query(keyed.query),
        channel=keyed.channel.lower(),
        product_key=product,
        customer_id=keyed.customer_id.cast("int32"),
        column=keyed.column.cast("int16"),
    )
    codes = {"event_type": [str(kind) for kind in EventType], **_codes_of_channels(source.events)}
    observed = engine.materialise(keyed.select(OBSERVED_COLUMNS), "observed_events", codes=codes)
    return PreparedEvents(customers, paths, cut, columns, events, observed, has_session_ids)


def _codes_of_channels(events: ir.Table) -> dict[str, list[str]]:
    """The channels, if they are few enough to be numbered; a channel may be any text."""
    channels = events.select(channel=events.channel.lower()).distinct().limit(MAX_CHANNEL_CODES + 2).to_pyarrow()
    names = sorted(channel for channel in channels["channel"].to_pylist() if channel is not None)
    # SQL cannot name a text with a zero byte.
    is_usable = 0 < len(names) <= MAX_CHANNEL_CODES and not any("\0" in name for name in names)
    return {"channel": names} if is_usable else {}


def _number_customers(engine: Engine, source: Source, window: ObservationWindow, params: Params) -> ir.Table:
    """Customers seen or registered before as_of, numbered because integers are joined and grouped faster than texts.

    customers (customer_name, customer_id, is_known_from_before, is_buyer_from_before, last_counted_at): the table
    known_customers. customer_id counts from 0 in order of customer_name; "from before": had an event, or a purchase,
    before the window began; last_counted_at: time of the last event before as_of that counts for interests; evidence is
    weighted back from it
    """
    events = source.events
    is_counted = interests.is_counted(events, params.interests.signal_weights)
    by_name = events.group_by("customer_id").aggregate(
        first_at=events.occurred_at.min(),
        last_at=events.occurred_at.max(),
        first_purchase_at=events.occurred_at.min(where=events.event_type == str(EventType.PURCHASE)),
        last_counted_at=events.occurred_at.max(where=is_counted & (events.occurred_at < window.end)),
    )
    seen = engine.materialise(by_name, "customers_seen")
    is_buyer = (seen.first_purchase_at < window.start).fill_null(False)
    known = seen.filter(seen.first_at < window.end).select(
        "customer_id",
        "last_counted_at",
        is_known_from_before=seen.first_at < window.start,
        is_buyer_from_before=is_buyer,
    )
    registered = registered_customers(source, window, seen.select("customer_id", occurred_at="last_at"))
    if registered is not None:
        unseen = registered.anti_join(known, "customer_id")
        not_before = dict.fromkeys(FROM_BEFORE, ibis.literal(False))
        unseen = unseen.mutate(**not_before, last_counted_at=ibis.null(known.last_counted_at.type()))
        known = known.union(unseen.select(known.columns))
    named = known.select(*FROM_BEFORE, "last_counted_at", customer_name="customer_id")
    customers = engine.numbered(named, "known_customers", order_by="customer_name", number="customer_id")
    engine.drop("customers_seen")
    return customers


def registered_customers(
    source: Source, window: ObservationWindow, last_events: ir.Table | None = None
) -> ir.Table | None:
    """Customers (customer_id) registered before as_of; None without a customer table.

    A customer without a registration date is known from the first event on, because the table may be newer than an
    as_of in the past. A customer without a date and without events counts as always known.

    Parameters
    ----------
    last_events : table, optional
        customer_id and occurred_at of each customer's last event; saves reading all events.
    """
    if source.customers is None:
        return None
    registered = source.customers
    if "registered_at" not in registered.columns:
        registered = registered.mutate(registered_at=ibis.null("timestamp"))
    events = source.events if last_events is None else last_events
    later = events.filter(events.occurred_at >= window.end).select("customer_id").distinct()
    # A join, because Spark compares all pairs for "not in".
    marked = registered.left_join(later.mutate(is_later=True), "customer_id")
    is_known = (marked.registered_at < window.end).fill_null(marked.is_later.isnull())
    return marked.filter(is_known).select("customer_id")


def with_customer_numbers(events: ir.Table, customers: ir.Table, *carried: str) -> ir.Table:
    """Events with their customer's number and ``carried`` columns; events of other customers are left out."""
    named = events.rename(customer_name="customer_id")
    return named.join(customers.select("customer_name", "customer_id", *carried), "customer_name").drop("customer_name")


def with_columns(events: ir.Table, source: Source, columns: ir.Table) -> ir.Table:
    """Events with the interest column of their product's category, or of their own category."""
    has_own_paths = _has_any(source.events, "category_path")
    return categories.with_column(events, source.products, columns, has_own_paths=has_own_paths)


def _has_any(events: ir.Table, column: str) -> bool:
    """Whether a column has any value; the first row with one is enough."""
    return bool(events.filter(events[column].notnull()).limit(1).count().to_pyarrow().as_py())


def _evidence_by_path(events: ir.Table, source: Source, window: ObservationWindow, params: Params) -> ir.Table:
    """Paths (category_path, evidence, event_count), summed by product first so few rows join the catalogue."""
    # A search reaches categories only through its query and is not part of the shop's mix.
    weighted = events.filter(events.event_type != str(EventType.SEARCH))
    weighted = weighted.mutate(weight=decayed_weight(weighted, window, params.interests))
    by_product = weighted.group_by("product_id", "category_path").aggregate(
        evidence=exact_sum(weighted.weight), event_count=weighted.count()
    )
    paths = categories.with_category_path(by_product, source.products)
    paths = paths.filter(paths.category_path.notnull())
    return paths.group_by("category_path").aggregate(
        evidence=exact_sum(paths.evidence), event_count=paths.event_count.sum()
    )


def fit_cut(paths: ir.Table, max_categories: int) -> categories.CategoryCut:
    """The categories that become columns: paths (category_path, evidence) -> at most ``max_categories`` of them."""
    nodes = categories.node_evidence(paths).to_pandas()
    total = float(paths.aggregate(total=exact_sum(paths.evidence)).to_pandas().total.iloc[0])
    columns = choose_columns(nodes.category.tolist(), nodes.evidence.tolist(), total, max_categories)
    return categories.category_cut(columns, total)


def decayed_weight(events: ir.Table, window: ObservationWindow, decay: DecayParams) -> ir.FloatingValue:
    """Weight of each event, decayed to the end of the window."""
    return interests.decayed_weight(
        events, window=window, signal_weights=decay.signal_weights, half_life_days=decay.half_life_days
    )


def own_weight(events: ir.Table, params: Params) -> ir.FloatingValue:
    """Weight of each event for interests, decayed back from the customer's own last counted event."""
    decay = params.interests
    return interests.own_weight(events, signal_weights=decay.signal_weights, half_life_days=decay.half_life_days)
