"""Kindred's profile in idiomatic Polars: lazy queries on the streaming engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from tree import columns_of, levels_of, parent

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)
START = AS_OF - timedelta(days=365)
WEIGHTS = {"view": 1.0, "search": 1.0, "favourite": 2.0, "cart": 2.0, "purchase": 3.0, "email_click": 0.5}
POINTS = {"view": 1.0, "search": 1.0, "favourite": 3.0, "cart": 5.0, "email_click": 1.0}
HALF_LIFE_DAYS, POINTS_HALF_LIFE_DAYS, KAPPA = 45.0, 7.0, 8.0
WITHOUT_PRODUCT = ["search", "contact", "email_open", "email_click", "redemption"]
KINDS = ["view", "search", "favourite", "cart", "remove_from_cart", "purchase", "return", "contact"]
KINDS += ["email_open", "email_click", "redemption"]
kind, at = pl.col("event_type"), pl.col("occurred_at")


def profiles(folder: Path) -> pl.DataFrame:
    """One row per customer of the shop in ``folder``."""
    events = observed(folder)
    has_path = events.filter(pl.col("column").is_not_null())
    by_path = has_path.group_by("column").agg(pl.col("weight").sum()).collect(engine="streaming")
    column_of = columns_of(dict(by_path.iter_rows()))
    events = events.with_columns(column=pl.col("column").replace_strict(column_of, default=None))
    with_column = events.filter(pl.col("column").is_not_null())
    mix = {row[0]: row[1] for row in with_column.group_by("column").agg(pl.col("weight").sum()).collect().iter_rows()}
    whole = sum(mix.values())
    searched = events.filter(kind == "search").join(meanings(events), on="query")
    pairs = ["customer_id", "column", "weight"]
    both = pl.concat(
        [
            with_column.select(pairs),
            searched.with_columns(column="meant", weight=pl.col("weight") * pl.col("p")).select(pairs),
        ]
    )
    has_subject = (
        pl.when(kind == "search").then(pl.col("query").is_not_null()).otherwise(pl.col("product_id").is_not_null())
    )
    last = events.filter(has_subject, pl.col("weight") > 0).group_by("customer_id").agg(last_at=at.max())
    days = (pl.lit(AS_OF) - pl.col("last_at")).dt.total_microseconds() / 86_400e6
    summed = both.group_by("customer_id", "column").agg(pl.col("weight").sum()).join(last, on="customer_id")
    renewed = summed.with_columns(weight=pl.col("weight") * 2.0 ** (days / HALF_LIFE_DAYS)).drop("last_at")
    evidence = renewed.collect(engine="streaming")
    wide = evidence.pivot("column", index="customer_id", values="weight").fill_null(0.0)
    mix = {name: weight / whole for name, weight in mix.items()}
    interest = shares(wide, mix)
    tables = [activity(events), visits(events), value(events), returned(events), price_level(events)]
    customers_table = known(events, folder).lazy()
    for table in [*tables, interest.lazy()]:
        customers_table = customers_table.join(table, on="customer_id", how="left")
    defaults = [pl.col(f"interest: {name}").fill_null(share) for name, share in mix.items()]
    return customers_table.with_columns(defaults).sort("customer_id").collect(engine="streaming")


def observed(folder: Path) -> pl.LazyFrame:
    """Valid rows within the window, with column, weight and points."""
    events = pl.scan_parquet(str(folder / "events" / "*.parquet")).filter(
        pl.col("customer_id").is_not_null(),
        at >= START,
        at < AS_OF,
        pl.col("product_id").is_not_null() | kind.is_in(WITHOUT_PRODUCT),
        *[pl.col(number).is_null() | (pl.col(number) >= 0) for number in ("unit_price", "discount", "quantity")],
    )
    products = pl.scan_parquet(folder / "products.parquet").select("product_id", column="category_path")
    age = (AS_OF - at).dt.total_microseconds() / 86_400e6
    query = (
        pl.col("query")
        .str.to_lowercase()
        .str.replace_all("['`’ʼ´]", "")
        .str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ")
        .str.strip_chars()
    )
    return events.join(products, on="product_id", how="left").with_columns(
        query=pl.when(query != "").then(query),
        # Email clicks have no session: their visit is the day.
        session_id=pl.coalesce("session_id", at.dt.strftime("%Y-%m-%d")),
        quantity=pl.col("quantity").fill_null(1.0),
        weight=kind.replace_strict(WEIGHTS, default=0.0, return_dtype=pl.Float64) * (2.0 ** (-age / HALF_LIFE_DAYS)),
        points=kind.replace_strict(POINTS, default=0.0, return_dtype=pl.Float64)
        * (2.0 ** (-age / POINTS_HALF_LIFE_DAYS)),
    )


def known(events: pl.LazyFrame, folder: Path) -> pl.DataFrame:
    """Everybody seen or registered."""
    customers = pl.scan_parquet(folder / "customers.parquet").filter(pl.col("registered_at") < AS_OF)
    seen = pl.concat([events.select("customer_id"), customers.select("customer_id")]).unique()
    return seen.collect(engine="streaming")


def meanings(events: pl.LazyFrame) -> pl.LazyFrame:
    """P(category | query): query, meant, p."""
    visit = ["customer_id", "session_id"]
    searches = events.filter(kind == "search", pl.col("query").is_not_null())
    searches = searches.select(*visit, "query", at).unique().collect(engine="streaming")
    actions = events.filter(
        kind.is_in(["view", "favourite", "cart", "purchase"]),
        pl.col("column").is_not_null(),
    )
    # Only visits with a search, because the as-of join needs both sides sorted.
    actions = actions.select(*visit, "column", at).join(searches.lazy(), on=visit, how="semi")
    followed = (
        actions.collect(engine="streaming")
        .sort("occurred_at")
        .join_asof(
            searches.sort("occurred_at", "query").with_columns(searched_at="occurred_at"),
            on="occurred_at",
            by=visit,
            tolerance="30m",
            check_sortedness=False,
        )
        .drop_nulls("query")
    )
    share = 1.0 / pl.len().over(*visit, "searched_at")
    led_to = followed.with_columns(share=share).group_by("query", meant="column").agg(led_to=pl.col("share").sum())
    made = searches.group_by("query").agg(searches=pl.len(), customers=pl.col("customer_id").n_unique())
    probabilities = led_to.join(made.filter(pl.col("customers") >= 5), on="query")
    probabilities = probabilities.select("query", "meant", p=pl.col("led_to") / (pl.col("searches") + 2.0))
    return probabilities.filter(pl.col("p") >= 0.02).lazy()


def activity(events: pl.LazyFrame) -> pl.LazyFrame:
    """Counts by type, points, first and last event."""
    return events.group_by("customer_id").agg(
        *[(kind == name).sum().alias(f"{name}_count") for name in KINDS],
        event_count=pl.len(),
        temperature_points=pl.col("points").sum(),
        first=at.min(),
        last=at.max(),
    )


def visits(events: pl.LazyFrame) -> pl.LazyFrame:
    """Visits, abandoned carts, and when and where."""
    inside = events.filter(~kind.is_in(["email_open", "contact", "redemption", "other"]))
    by_visit = inside.group_by("customer_id", "session_id").agg(
        at=at.min(),
        channel=pl.col("channel").min(),
        has_cart=(kind == "cart").any(),
        has_purchase=(kind == "purchase").any(),
        is_emptied=((kind == "remove_from_cart").sum() >= (kind == "cart").sum())
        & (at.filter(kind == "remove_from_cart").max() >= at.filter(kind == "cart").max()).fill_null(False),
    )
    hour, count = pl.col("at").dt.hour(), pl.len()
    return by_visit.group_by("customer_id").agg(
        session_count=count,
        cart_session_count=pl.col("has_cart").sum(),
        abandoned_cart_count=(pl.col("has_cart") & ~pl.col("has_purchase") & ~pl.col("is_emptied")).sum(),
        weekend_share=(pl.col("at").dt.weekday() >= 6).sum() / count,
        night_share=(hour < 6).sum() / count,
        morning_share=((hour >= 6) & (hour < 12)).sum() / count,
        afternoon_share=((hour >= 12) & (hour < 18)).sum() / count,
        evening_share=(hour >= 18).sum() / count,
        **{f"channel: {name}": (pl.col("channel") == name).sum() / count for name in ("web", "app", "email", "store")},
    )


def value(events: pl.LazyFrame) -> pl.LazyFrame:
    """Orders, spend and discounts of each buyer."""
    paid = pl.col("quantity") * pl.col("unit_price").fill_null(0.0) - pl.col("discount").fill_null(0.0)
    orders = (
        events.filter(kind == "purchase")
        .group_by("customer_id", pl.coalesce("order_id", at.dt.strftime("%Y-%m-%d")).alias("order"))
        .agg(
            at=at.min(),
            spend=paid.sum(),
            items=pl.col("quantity").sum(),
            lines=pl.len(),
            discounted=(pl.col("discount") > 0).sum(),
        )
    )
    return orders.group_by("customer_id").agg(
        order_count=pl.len(),
        spend=pl.col("spend").sum(),
        item_count=pl.col("items").sum(),
        discount_share=pl.col("discounted").sum() / pl.col("lines").sum(),
        first_purchase=pl.col("at").min(),
        last_purchase=pl.col("at").max(),
    )


def returned(events: pl.LazyFrame) -> pl.LazyFrame:
    """Returned items."""
    back = events.filter(kind == "return").group_by("customer_id")
    return back.agg(returned_item_count=pl.col("quantity").sum())


def price_level(events: pl.LazyFrame) -> pl.LazyFrame:
    """Prices paid, compared with the average prices of the same categories."""
    priced = events.filter(
        kind == "purchase", pl.col("unit_price") > 0, pl.col("column").is_not_null(), pl.col("quantity") > 0
    )
    paid, quantity = pl.col("unit_price") * pl.col("quantity"), pl.col("quantity")
    means = priced.group_by("column").agg(mean=paid.sum() / quantity.sum())
    return (
        priced.join(means, on="column")
        .group_by("customer_id")
        .agg(price_level=paid.sum() / (pl.col("mean") * quantity).sum())
    )


def shares(wide: pl.DataFrame, mix: dict[str, float]) -> pl.DataFrame:
    """The interest formula, from the root down."""
    names = wide.columns[1:]
    table = wide.with_columns(evidence=pl.sum_horizontal(names))
    worth, mix_above = {"": 1.0 / (pl.col("evidence") + KAPPA)}, {"": 1.0}
    levels = levels_of(names)
    for level, nodes in enumerate(levels, start=1):
        below: dict[str, list[str]] = {}
        for name, node in zip(names, nodes, strict=True):
            below.setdefault(node, []).append(name)
        node_mix = {node: sum(mix[name] for name in inside) for node, inside in below.items()}
        prefix = "interest: " if level == len(levels) else f"level {level}: "
        shares = {}
        for node, inside in below.items():
            own, above = pl.sum_horizontal(inside), parent(node, level)
            share = worth[above] * (own + KAPPA * (node_mix[node] / mix_above[above]))
            shares[prefix + node] = share if level == len(levels) else share / (own + KAPPA)
        table = table.with_columns(**shares)
        worth, mix_above = {node: pl.col(prefix + node) for node in below}, node_mix
    return table.select("customer_id", "evidence", *[f"interest: {name}" for name in names])
