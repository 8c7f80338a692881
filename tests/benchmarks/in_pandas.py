"""Kindred's profile in idiomatic pandas: dictionary-encoded keys, one group-by per table, no row loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tree import columns_of, levels_of, parent

AS_OF = pd.Timestamp("2025-11-01")
START = AS_OF - pd.Timedelta(days=365)
WEIGHTS = {"view": 1.0, "search": 1.0, "favourite": 2.0, "cart": 2.0, "purchase": 3.0, "email_click": 0.5}
POINTS = {"view": 1.0, "search": 1.0, "favourite": 3.0, "cart": 5.0, "email_click": 1.0}
HALF_LIFE_DAYS, POINTS_HALF_LIFE_DAYS, KAPPA = 45.0, 7.0, 8.0
WITHOUT_PRODUCT = ["search", "contact", "email_open", "email_click", "redemption"]
TEXTS = ["customer_id", "event_type", "product_id", "query", "order_id", "session_id", "channel"]


def profiles(folder: Path) -> pd.DataFrame:
    """One row per customer of the shop in ``folder``."""
    events = checked(pd.read_parquet(folder / "events", read_dictionary=TEXTS))
    products = pd.read_parquet(folder / "products.parquet", columns=["product_id", "category_path"])
    path = products.category_path.astype("category")
    path_of = pd.Series(path.cat.codes.to_numpy(), products.product_id)
    path_of = path_of.reindex(events.product_id.cat.categories).fillna(-1).to_numpy(np.int64)
    events["path"] = np.where(events.product_id.isna(), -1, path_of[events.product_id.cat.codes])
    age = (AS_OF - events.occurred_at).dt.total_seconds().to_numpy() / 86_400
    events["weight"] = weights(events.event_type, WEIGHTS) * np.exp2(-age / HALF_LIFE_DAYS)
    events["points"] = weights(events.event_type, POINTS) * np.exp2(-age / POINTS_HALF_LIFE_DAYS)

    by_path = events[events.path >= 0].groupby("path").weight.sum()
    column_of = columns_of(dict(zip(path.cat.categories[by_path.index], by_path, strict=True)))
    names = sorted(set(column_of.values()))
    column = [names.index(column_of[name]) if name in column_of else -1 for name in path.cat.categories]
    events["column"] = np.where(events.path >= 0, np.array(column)[events.path], -1)
    with_column = events[events["column"] >= 0]
    mix = with_column.groupby("column").weight.sum().reindex(range(len(names)), fill_value=0.0)
    own = with_column.groupby(["customer", "column"]).weight.sum()
    searched = events.loc[events.event_type == "search", ["customer", "query", "weight"]]
    meant = searched.merge(meanings(events), on="query")
    meant["weight"] *= meant.probability
    evidence = own.add(meant.groupby(["customer", "column"]).weight.sum(), fill_value=0.0).unstack(fill_value=0.0)
    evidence = evidence.reindex(columns=range(len(names)), fill_value=0.0)
    has_subject = np.where(events.event_type == "search", events["query"] >= 0, events.product_id.notna())
    last_age = (
        AS_OF - events[has_subject & (events.weight > 0)].groupby("customer").occurred_at.max()
    ).dt.total_seconds()
    evidence = evidence.mul(np.exp2(last_age / 86_400 / HALF_LIFE_DAYS).reindex(evidence.index), axis=0)

    mix = mix / mix.sum()
    interest = shares(evidence, mix, names)
    table = pd.concat([activity(events), visits(events), value(events), interest], axis=1)
    table.index = events.customer_id.cat.categories.take(table.index)
    customers = pd.Index(sorted(known(events, folder)), name="customer_id")
    defaults = dict(zip([f"interest: {name}" for name in names], mix, strict=True))
    return table.reindex(customers).fillna(defaults).reset_index()


def checked(events: pd.DataFrame) -> pd.DataFrame:
    """Valid rows within the window."""
    events["occurred_at"] = events.occurred_at.dt.tz_localize(None)
    kind = events.event_type
    good = events.customer_id.notna() & (events.occurred_at >= START) & (events.occurred_at < AS_OF)
    good &= events.product_id.notna() | kind.isin(WITHOUT_PRODUCT)
    for number in ("unit_price", "discount", "quantity"):
        good &= events[number].isna() | (events[number] >= 0)
    events = events[good].copy()
    events["quantity"] = events.quantity.fillna(1.0)
    events["customer"] = events.customer_id.cat.codes
    # Email clicks have no session: their visit is the day.
    day = -1 - events.occurred_at.to_numpy().astype("datetime64[D]").astype(np.int64)
    events["session"] = np.where(events.session_id.isna(), day, events.session_id.cat.codes)
    events["is_visit"] = ~events.event_type.isin(["email_open", "contact", "redemption", "other"])
    text = events["query"].cat.categories.str.lower().str.replace("['`’ʼ´]", "", regex=True)
    text = text.str.replace(r"[\W_]+", " ", regex=True).str.strip()
    codes, _ = pd.factorize(text)
    events["query"] = np.where(events["query"].isna(), -1, codes[events["query"].cat.codes])
    return events


def known(events: pd.DataFrame, folder: Path) -> set[str]:
    """All customers seen or registered."""
    customers = pd.read_parquet(folder / "customers.parquet", columns=["customer_id", "registered_at"])
    seen = events.customer_id.cat.remove_unused_categories().cat.categories
    return set(seen) | set(customers.customer_id[customers.registered_at.dt.tz_localize(None) < AS_OF])


def weights(kind: pd.Series, of: dict[str, float]) -> np.ndarray:
    """The weight of each event, by its type."""
    return np.array([of.get(name, 0.0) for name in kind.cat.categories])[kind.cat.codes]


def meanings(events: pd.DataFrame) -> pd.DataFrame:
    """P(category | query): query, column, probability."""
    kinds = ["search", "view", "favourite", "cart", "purchase"]
    used = events[events.event_type.isin(kinds)]
    used = used.loc[(used.event_type != "search") | (used["query"] >= 0)]
    is_search = (used.event_type == "search").to_numpy()
    order = np.lexsort((~is_search, used.occurred_at.to_numpy(), used.session, used.customer))
    used, is_search = used.iloc[order], is_search[order]
    last = np.maximum.accumulate(np.where(is_search, np.arange(len(used)), -1))
    search, at = used.iloc[np.maximum(last, 0)], used.occurred_at.to_numpy()
    follows = ~is_search & (last >= 0) & (used["column"].to_numpy() >= 0)
    follows &= (search.customer.to_numpy() == used.customer.to_numpy()) & (
        search.session.to_numpy() == used.session.to_numpy()
    )
    follows &= at - search.occurred_at.to_numpy() <= np.timedelta64(30, "m")
    actions = pd.DataFrame(
        {
            "query": search["query"].to_numpy()[follows],
            "column": used["column"].to_numpy()[follows],
            "share": 1.0 / np.bincount(last[follows], minlength=len(used))[last[follows]],
        }
    )
    made = used.loc[is_search, ["query", "customer", "session", "occurred_at"]].drop_duplicates()
    by_query = made.groupby("query").customer.agg(["size", "nunique"])
    led_to = actions.groupby(["query", "column"], as_index=False).share.sum().join(by_query, on="query")
    led_to["probability"] = led_to.share / (led_to["size"] + 2.0)
    return led_to[(led_to["nunique"] >= 5) & (led_to.probability >= 0.02)][["query", "column", "probability"]]


def activity(events: pd.DataFrame) -> pd.DataFrame:
    """Counts by type, points, first and last event."""
    counts = events.groupby(["customer", "event_type"], observed=True).size().unstack(fill_value=0)
    by_customer = events.groupby("customer").agg(
        event_count=("points", "size"),
        temperature_points=("points", "sum"),
        first=("occurred_at", "min"),
        last=("occurred_at", "max"),
    )
    return counts.add_suffix("_count").join(by_customer)


def visits(events: pd.DataFrame) -> pd.DataFrame:
    """Visits, abandoned carts, and when and where."""
    inside = events[events.is_visit]
    flagged = inside.assign(
        has_cart=inside.event_type == "cart",
        put=inside.occurred_at.where(inside.event_type == "cart"),
        taken=inside.occurred_at.where(inside.event_type == "remove_from_cart"),
        has_purchase=inside.event_type == "purchase",
        channel=inside.channel.cat.reorder_categories(sorted(inside.channel.cat.categories), ordered=True),
    )
    by_visit = flagged.groupby(["customer", "session"]).agg(
        at=("occurred_at", "min"),
        channel=("channel", "min"),
        has_cart=("has_cart", "any"),
        has_purchase=("has_purchase", "any"),
        put_count=("put", "count"),
        taken_count=("taken", "count"),
        last_put=("put", "max"),
        last_taken=("taken", "max"),
    )
    is_emptied = (by_visit.taken_count >= by_visit.put_count) & (by_visit.last_taken >= by_visit.last_put)
    hour = by_visit["at"].dt.hour
    marks = pd.DataFrame(
        {
            "cart_session_count": by_visit.has_cart,
            "abandoned_cart_count": by_visit.has_cart & ~by_visit.has_purchase & ~is_emptied,
            "weekend_share": by_visit["at"].dt.dayofweek >= 5,
            "night_share": hour < 6,
            "morning_share": (hour >= 6) & (hour < 12),
            "afternoon_share": (hour >= 12) & (hour < 18),
            "evening_share": hour >= 18,
            **{f"channel: {name}": by_visit.channel == name for name in ("web", "app", "email", "store")},
        },
        dtype="float64",
    )
    summed = marks.groupby(level="customer").sum()
    summed["session_count"] = by_visit.groupby(level="customer").size()
    each = [name for name in summed if "share" in name or "channel" in name]
    summed[each] = summed[each].div(summed.session_count, axis=0)
    return summed


def value(events: pd.DataFrame) -> pd.DataFrame:
    """Orders, spend, discounts, returns and price level of each buyer."""
    bought = events[events.event_type == "purchase"]
    key = bought.order_id.astype("str").fillna(bought.occurred_at.dt.strftime("%Y-%m-%d"))
    bought = bought.assign(
        order=key,
        paid=bought.quantity * bought.unit_price.fillna(0.0) - bought.discount.fillna(0.0),
        is_discounted=bought.discount > 0,
    )
    orders = bought.groupby(["customer", "order"]).agg(
        at=("occurred_at", "min"),
        spend=("paid", "sum"),
        items=("quantity", "sum"),
        lines=("quantity", "size"),
        discounted=("is_discounted", "sum"),
    )
    table = orders.groupby("customer").agg(
        order_count=("spend", "size"),
        spend=("spend", "sum"),
        item_count=("items", "sum"),
        lines=("lines", "sum"),
        discounted=("discounted", "sum"),
        first_purchase=("at", "min"),
        last_purchase=("at", "max"),
    )
    table["discount_share"] = table.pop("discounted") / table.pop("lines")
    priced = bought[(bought.unit_price > 0) & (bought["column"] >= 0) & (bought.quantity > 0)]
    priced = priced.assign(paid=priced.unit_price * priced.quantity)
    by_column = priced.groupby("column")[["paid", "quantity"]].sum()
    expected = priced["column"].map(by_column.paid / by_column.quantity) * priced.quantity
    sums = priced.assign(expected=expected).groupby("customer")[["paid", "expected"]].sum()
    table["price_level"] = sums.paid / sums.expected
    back = events[events.event_type == "return"].groupby("customer").quantity.sum()
    return table.join(back.rename("returned_item_count"), how="outer")


def shares(evidence: pd.DataFrame, mix: pd.Series, names: list[str]) -> pd.DataFrame:
    """The interest formula, from the root down."""
    total = evidence.sum(axis=1)
    share, whole, mix_above = pd.DataFrame({"": 1.0}, evidence.index), total.to_frame(""), pd.Series({"": 1.0})
    for level, nodes in enumerate(levels_of(names), start=1):
        own, node_mix = evidence.T.groupby(nodes).sum().T, mix.groupby(nodes).sum()
        above = [parent(node, level) for node in own.columns]
        worth = share[above].to_numpy() / (whole[above].to_numpy() + KAPPA)
        child_shares = worth * (own.to_numpy() + KAPPA * (node_mix.to_numpy() / mix_above[above].to_numpy()))
        share, whole, mix_above = pd.DataFrame(child_shares, evidence.index, own.columns), own, node_mix
    return share.add_prefix("interest: ").assign(evidence=total)
