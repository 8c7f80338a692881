"""A shop with planted segments, for the demo and the tests: what each customer is, is written down as truth.

Customers are drawn in chunks, each from a random stream of its own and written to a file of its own, so that a hundred
million events take no more memory than a million, and the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipeline.params import UserError
from pipeline.simulate_words import AGE_BANDS, CATALOGUE, CHANNELS, CITIES, LANGUAGES, VAGUE, WORDS

ENDS_AT = datetime(2025, 12, 1, tzinfo=UTC)
DAYS_AFTER_TRAINING = 30
CHUNK_CUSTOMERS = 20_000
PRODUCTS_PER_LEAF = 30
TYPO_SHARE = 0.12
DAY = 86_400
Generator = np.random.Generator
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A planted segment: how often its customers come, and how far a visit goes.

    Attributes
    ----------
    share : float
        Of all customers; shares sum to 1.
    visits : float
        Mean visits over a year of activity, long-tailed; ``visits`` below 3 are not stretched by time.
    first, last : (float, float)
        Ranges of the first and last day of activity, as days before the training date over the length of
        the log; negative is after it.
    views, cart, buy : float
        Mean views a visit; chance of a cart a visit; chance that a cart is bought.
    discount, back : float
        Share of purchases at a discount; share of bought items sent back.
    """

    name: str
    share: float
    visits: float
    first: tuple[float, float]
    last: tuple[float, float]
    views: float
    cart: float
    buy: float
    discount: float = 0.15
    back: float = 0.03
    basket: float = 1.6


KINDS = (
    Kind("passer_by", 0.55, 0.4, (1.0, -0.07), (0.0, 0.0), 0.7, 0.03, 0.2),
    Kind("vip", 0.02, 42.0, (1.0, 0.5), (0.02, -0.08), 6.0, 0.6, 0.85, 0.1, 0.03, 3.2),
    Kind("regular", 0.07, 18.0, (1.0, 0.3), (0.05, -0.08), 5.0, 0.45, 0.7),
    Kind("new", 0.04, 4.0, (0.1, -0.06), (0.0, -0.08), 5.0, 0.4, 0.6),
    Kind("one_time", 0.07, 1.6, (0.95, 0.05), (0.0, 0.0), 5.0, 0.85, 0.95),
    Kind("bargain_hunter", 0.04, 16.0, (1.0, 0.4), (0.06, -0.08), 7.0, 0.4, 0.6, 0.92),
    Kind("browser", 0.06, 14.0, (1.0, 0.2), (0.1, -0.08), 8.0, 0.0, 0.0),
    Kind("cart_abandoner", 0.04, 11.0, (1.0, 0.2), (0.08, -0.08), 5.0, 0.75, 0.06),
    Kind("lapsed", 0.04, 16.0, (1.0, 0.75), (0.6, 0.36), 5.0, 0.45, 0.7),
    Kind("lost", 0.025, 20.0, (1.08, 0.98), (0.9, 0.7), 5.0, 0.45, 0.7),
    Kind("heavy_returner", 0.015, 16.0, (1.0, 0.4), (0.06, -0.08), 5.0, 0.6, 0.8, 0.2, 0.55, 2.4),
    Kind("silent", 0.03, 0.0, (1.0, -0.06), (0.0, 0.0), 0.0, 0.0, 0.0),
)
REGISTERED_SHARE = {"passer_by": 0.1, "silent": 1.0}


@dataclass(frozen=True)
class SimulatedShop:
    """What was written, and where."""

    folder: str
    seed: int
    customers: int
    days: int
    file_format: str
    event_count: int
    product_count: int
    starts_at: str
    training_as_of: str
    ends_at: str
    dirty: dict[str, int]

    def as_text(self) -> str:
        """What to do next."""
        return (
            f"{self.event_count:,} events of {self.customers:,} customers in {self.folder}, "
            f"{self.starts_at[:10]} to {self.ends_at[:10]}.\n"
            f"Next     kindred train --set as_of={self.training_as_of}"
        )


def simulate(
    folder: Path,
    *,
    customers: int,
    days: int,
    seed: int,
    file_format: str = "parquet",
    dirty_share: float = 0.002,
    progress: Callable[[str], None] = lambda step: None,
) -> SimulatedShop:
    """Write a shop into ``folder``: events, products, customers, and the truth about them.

    Parameters
    ----------
    customers : int, >= 1
        About 22 events each.
    days : int, >= 60
        Length of the log; it ends at 2025-12-01 UTC, 30 days after the training date.
    file_format : str
        parquet or csv, for the events.
    dirty_share : float
        Share of events for each kind of dirt.

    Raises
    ------
    UserError
        The folder holds something else, or a number is out of its range.
    """
    if customers < 1 or days < 2 * DAYS_AFTER_TRAINING:
        raise UserError(f"expected --customers of 1 or more and --days of 60 or more. Got {customers} and {days}.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "shop.json").exists():
        raise UserError(f"{folder}: expected no folder, or one with a simulated shop; it holds other files.")
    work = folder.with_name(f".part-{os.getpid()}-{folder.name}")
    shutil.rmtree(work, ignore_errors=True)
    (work / "events").mkdir(parents=True)
    try:
        shop = _write(work, folder, customers, days, seed, file_format, dirty_share, progress)
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return shop


def _write(
    work: Path, folder: Path, customers: int, days: int, seed: int, file_format: str, dirty_share: float, progress: Any
) -> SimulatedShop:
    products = _products(np.random.default_rng([seed, 0]))
    queries = _queries(np.random.default_rng([seed, 1]))
    _parquet(work / "products.parquet", {k: products[k] for k in ("product_id", "category_path", "brand", "price")})
    _parquet(work / "truth_queries.parquet", {k: queries[k] for k in ("query", "language", "is_typo", "category_path")})
    event_count = 0
    dirty: dict[str, int] = {}
    people: list[pa.Table] = []
    for part, start in enumerate(range(0, customers, CHUNK_CUSTOMERS)):
        generator = np.random.default_rng([seed, 2, part])
        crowd = _crowd(generator, start, min(CHUNK_CUSTOMERS, customers - start), days)
        events = _events(generator, crowd, products, queries, days)
        events, made_dirty = _dirt(generator, events, dirty_share)
        _write_events(work / "events" / f"part-{part:05}", events, file_format, generator, made_dirty)
        people.append(_people(crowd))
        event_count += len(events["occurred_at"])
        dirty = {reason: dirty.get(reason, 0) + count for reason, count in made_dirty.items()}
        progress(f"{event_count:,} events of {start + len(crowd['kind']):,} customers")
    everybody = pa.concat_tables(people)
    registered = everybody.filter(pa.compute.is_valid(everybody["registered_at"]))
    _parquet(
        work / "customers.parquet", registered.select(["customer_id", "registered_at", "city", "age_band", "gender"])
    )
    _parquet(
        work / "truth_customers.parquet",
        everybody.select(["customer_id", "kind", "interests", "first_seen_at", "is_new_after_training"]),
    )
    shop = SimulatedShop(
        folder=str(folder),
        seed=seed,
        customers=customers,
        days=days,
        file_format=file_format,
        event_count=event_count,
        product_count=len(products["product_id"]),
        starts_at=(ENDS_AT - timedelta(days=days)).isoformat(),
        training_as_of=(ENDS_AT - timedelta(days=DAYS_AFTER_TRAINING)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ends_at=ENDS_AT.isoformat(),
        dirty=dirty,
    )
    (work / "shop.json").write_text(
        json.dumps({**asdict(shop), "folder": folder.name}, indent=2, sort_keys=True) + "\n"
    )
    return shop


def _products(generator: Generator) -> Columns:
    """Thirty products a leaf; prices and popularity have long tails."""
    rows = [
        (index, f"{root} > {second} > {leaf}", price)
        for index, (second, (root, leaves, price, _)) in enumerate(CATALOGUE.items())
        for leaf in leaves
        for _ in range(PRODUCTS_PER_LEAF)
    ]
    count = len(rows)
    return {
        "product_id": np.array([f"p{number:05}" for number in range(count)]),
        "category_path": np.array([path for _, path, _ in rows]),
        "brand": np.char.add("brand ", generator.integers(1, 60, count).astype(str)),
        "price": np.round(np.array([price for _, _, price in rows]) * generator.lognormal(-0.15, 0.55, count), 2),
        "second": np.array([index for index, _, _ in rows]),
        "popularity": generator.pareto(1.3, count) + 0.05,
    }


def _queries(generator: Generator) -> Columns:
    """Every word of the shop with its typing errors, and what it means; -1 means nothing in particular."""
    seconds = list(CATALOGUE)
    rows: list[tuple[str, str, bool, str | None, int, int]] = []
    for language, name in enumerate(LANGUAGES):
        for index, second in enumerate(seconds):
            path = f"{CATALOGUE[second][0]} > {second}"
            for word in WORDS[second][language]:
                rows.append((word, name, False, path, index, language))
                rows += [(typo, name, True, path, index, language) for typo in _typos(generator, word, name)]
        rows += [(word, name, False, None, -1, language) for word in VAGUE[language]]
    first = {row[0]: row for row in reversed(rows)}
    kept = sorted(first.values())
    names = ("query", "language", "is_typo", "category_path", "second", "language_index")
    return {name: np.array([row[i] for row in kept], dtype=object if i < 4 else int) for i, name in enumerate(names)}


def _typos(generator: Generator, word: str, language: str) -> list[str]:
    """Letters swapped, dropped and doubled; Albanian also without its diacritics."""
    found = []
    for _ in range(4):
        at = int(generator.integers(1, len(word) - 1))
        found.append(
            (
                word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            )[int(generator.integers(3))]
        )
    if language == "sq":
        found.append(word.replace("ë", "e").replace("ç", "c"))
    return [typo for typo in found if typo != word]


def _crowd(generator: Generator, start: int, count: int, days: int) -> Columns:
    """Customers with their kind, tastes and habits. Kinds overlap: every rate is drawn, none is the kind's own."""
    kind = generator.choice(len(KINDS), size=count, p=[kind.share for kind in KINDS])

    def of(name: str) -> np.ndarray:
        return np.array([getattr(one, name) for one in KINDS])[kind]

    def between(name: str) -> np.ndarray:
        low, high = of(name).T
        return low + (high - low) * generator.random(count)

    history = days - DAYS_AFTER_TRAINING
    first = np.clip(between("first"), None, days / history - 0.08) * history
    last = np.minimum(between("last") * history, first - 0.5)
    is_single = of("visits") < 3
    last = np.where(is_single, np.maximum(first - 40.0, -DAYS_AFTER_TRAINING + 0.1), last)
    last = np.maximum(last, -DAYS_AFTER_TRAINING + 0.05)
    visits = of("visits") * np.where(is_single, 1.0, np.maximum((first - last) / 365.0, 0.08) ** 0.8)
    visits = generator.poisson(visits * generator.gamma(2.0, 0.5, count))
    visits = np.where(of("visits") > 0, np.clip(visits, 1, 400), 0)
    tastes = generator.dirichlet(np.full(len(CATALOGUE), 0.12), size=count)
    return {
        "number": np.arange(start, start + count),
        "kind": kind,
        "first": first,
        "last": np.minimum(last, first - 0.01),
        "visits": visits,
        "views": of("views") * generator.gamma(4.0, 0.25, count),
        "cart": _jitter(generator, of("cart")),
        "buy": _jitter(generator, of("buy")),
        "discount": _jitter(generator, of("discount")),
        "back": _jitter(generator, of("back")),
        "basket": of("basket"),
        "tastes": tastes.cumsum(axis=1),
        "top_tastes": np.argsort(-tastes, axis=1)[:, :3],
        "taste_shares": -np.sort(-tastes, axis=1)[:, :3],
        "language": generator.choice(4, size=count, p=[0.3, 0.3, 0.2, 0.2]),
        "evening": generator.beta(2.0, 2.0, count),
        "weekend": generator.beta(2.0, 4.0, count),
        "channel": generator.dirichlet([3.0, 2.0, 0.3], size=count).cumsum(axis=1),
        "registered": generator.random(count) < np.array([REGISTERED_SHARE.get(k.name, 0.9) for k in KINDS])[kind],
        "city": generator.integers(0, len(CITIES), count),
        "age": generator.integers(0, len(AGE_BANDS), count),
        "gender": generator.integers(0, 2, count),
        "missing": generator.random((3, count)) < 0.15,
    }


def _jitter(generator: Generator, chance: np.ndarray) -> np.ndarray:
    """A chance of one's own around the kind's; 0 stays 0."""
    return np.where(chance > 0, generator.beta(np.maximum(chance, 1e-9) * 12, (1 - chance) * 12 + 1e-9), 0.0)


def _pick(generator: Generator, cumulative: np.ndarray) -> np.ndarray:
    """One column a row, by cumulative shares of shape (n, m)."""
    chosen = (generator.random(len(cumulative))[:, None] > cumulative).sum(axis=1)
    return np.minimum(chosen, cumulative.shape[1] - 1)


def _events(generator: Generator, crowd: Columns, products: Columns, queries: Columns, days: int) -> Columns:
    """All events of the crowd: visits, and in each a search or not, views, a cart, a purchase, a return later."""
    who = np.repeat(np.arange(len(crowd["kind"])), crowd["visits"])
    visits = len(who)
    second = _pick(generator, crowd["tastes"][who])
    age_days = _visit_ages(generator, crowd, who, second)
    training = (ENDS_AT - timedelta(days=DAYS_AFTER_TRAINING)).timestamp()
    started = _at_an_hour(generator, training - age_days * DAY, crowd, who)
    channel = _pick(generator, crowd["channel"][who])
    searches = generator.random(visits) < 0.3
    views = np.maximum(generator.poisson(crowd["views"][who]), np.where(searches, 0, 1))
    carts = generator.random(visits) < crowd["cart"][who]
    buys = carts & (generator.random(visits) < crowd["buy"][who])
    items = np.where(carts, 1 + generator.poisson(crowd["basket"][who] - 1), 0)
    views = np.maximum(views, items)

    viewed = np.repeat(np.arange(visits), views)
    step = np.arange(len(viewed)) - np.repeat(np.cumsum(views) - views, views)
    wandering = np.where(
        generator.random(len(viewed)) < 0.12, _pick(generator, crowd["tastes"][who[viewed]]), second[viewed]
    )
    product = _products_of(generator, products, wandering)
    view_at = started[viewed] + 20 + step * 45 + generator.integers(0, 40, len(viewed))

    in_cart = step < items[viewed]
    cart_visit, cart_product = viewed[in_cart], product[in_cart]
    cart_at = view_at[in_cart] + 15
    bought = buys[cart_visit]
    buy_visit, buy_product = cart_visit[bought], cart_product[bought]
    buy_at = started[buy_visit] + 60 + views[buy_visit] * 45 + 90
    quantity = 1.0 + generator.poisson(0.15, len(buy_visit))
    price = products["price"][buy_product]
    off = np.where(
        generator.random(len(buy_visit)) < crowd["discount"][who[buy_visit]],
        np.round(price * quantity * generator.uniform(0.1, 0.4, len(buy_visit)), 2),
        0.0,
    )
    back = generator.random(len(buy_visit)) < crowd["back"][who[buy_visit]]
    back_at = buy_at[back] + generator.integers(3 * DAY, 15 * DAY, back.sum())
    removed = ~bought & (generator.random(len(bought)) < 0.15)
    favourite = generator.random(len(viewed)) < 0.03
    query = _search_queries(generator, crowd, queries, who[searches], second[searches])
    contact = generator.random(visits) < np.where(np.isin(who, who[buy_visit[back]]), 0.08, 0.01)
    mailed = np.flatnonzero(crowd["registered"] & (crowd["visits"] > 1))
    mail_count = generator.poisson(2.0, len(mailed))
    mail_who = np.repeat(mailed, mail_count)
    mail_at = training - (crowd["last"] + (crowd["first"] - crowd["last"]) * 0.5)[mail_who] * DAY
    mail_at = mail_at + generator.integers(0, 20 * DAY, len(mail_who))

    blocks = [
        _block("search", who[searches], started[searches], np.flatnonzero(searches), query=query),
        _block("view", who[viewed], view_at, viewed, product=product, price=products["price"][product]),
        _block("favourite", who[viewed[favourite]], view_at[favourite] + 5, viewed[favourite],
               product=product[favourite]),
        _block("cart", who[cart_visit], cart_at, cart_visit, product=cart_product,
               price=products["price"][cart_product]),
        _block("remove_from_cart", who[cart_visit[removed]], cart_at[removed] + 30, cart_visit[removed],
               product=cart_product[removed]),
        _block("purchase", who[buy_visit], buy_at, buy_visit, product=buy_product, price=price, quantity=quantity,
               discount=off, order=buy_visit),
        _block("return", who[buy_visit[back]], back_at, np.full(back.sum(), -1), product=buy_product[back],
               price=price[back], quantity=quantity[back], order=buy_visit[back]),
        _block("contact", who[contact], started[contact] + 3600, np.full(contact.sum(), -1)),
        _block("email_open", mail_who, mail_at, np.full(len(mail_who), -1)),
    ]  # fmt: skip
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    chunk = crowd["number"][0] if len(crowd["number"]) else 0
    return _as_log(columns, crowd, products, queries, channel, chunk, days)


def _visit_ages(generator: Generator, crowd: Columns, who: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Days before training of each visit; of three drawn moments, one in its category's season is likelier."""
    span = crowd["first"][who] - crowd["last"][who]
    drawn = crowd["last"][who][:, None] + span[:, None] * generator.random((len(who), 3))
    drawn[:, 0] = np.where(
        generator.random(len(who)) < 1.0 / np.maximum(crowd["visits"][who], 1), crowd["first"][who], drawn[:, 0]
    )
    peak = np.array([month for *_, month in CATALOGUE.values()])[second]
    month = (10 - drawn / 30.4) % 12 + 1
    away = np.abs((month - peak[:, None] + 6) % 12 - 6)
    weight = np.where(peak[:, None] > 0, 1.0 + 2.0 * np.exp(-(away**2) / 2.0), 1.0) + 0.6 * (month >= 12)
    return drawn[np.arange(len(who)), _pick(generator, (weight / weight.sum(axis=1, keepdims=True)).cumsum(axis=1))]


def _at_an_hour(generator: Generator, moment: np.ndarray, crowd: Columns, who: np.ndarray) -> np.ndarray:
    """Moments moved to a weekday and an hour that the customer likes."""
    day = np.floor(moment / DAY)
    weekday = (day + 3) % 7
    wants_weekend = generator.random(len(who)) < crowd["weekend"][who]
    day = np.where(wants_weekend & (weekday < 5) & (generator.random(len(who)) < 0.5), day - weekday - 1, day)
    evening = generator.random(len(who)) < crowd["evening"][who]
    hour = np.where(evening, generator.normal(20.0, 1.5, len(who)), generator.normal(12.5, 2.5, len(who)))
    return day * DAY + np.clip(hour, 0.0, 23.0) * 3600.0


def _products_of(generator: Generator, products: Columns, second: np.ndarray) -> np.ndarray:
    """A product of each category, the popular ones oftener."""
    chosen = np.empty(len(second), dtype=np.int64)
    for index in range(len(CATALOGUE)):
        inside = second == index
        candidates = np.flatnonzero(products["second"] == index)
        shares = products["popularity"][candidates]
        chosen[inside] = generator.choice(candidates, size=inside.sum(), p=shares / shares.sum())
    return chosen


def _search_queries(
    generator: Generator, crowd: Columns, queries: Columns, who: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """A query for each search in the customer's language: for the category in mind, or vague; some mistyped."""
    chosen = np.zeros(len(who), dtype=np.int64)
    vague = generator.random(len(who)) < 0.08
    typo = generator.random(len(who)) < TYPO_SHARE
    meant = np.where(vague, -1, second)
    for language in range(len(LANGUAGES)):
        for index in range(-1, len(CATALOGUE)):
            for is_typo in (False, True):
                wanted = (crowd["language"][who] == language) & (meant == index) & (typo == is_typo)
                candidates = np.flatnonzero(
                    (queries["language_index"] == language)
                    & (queries["second"] == index)
                    & (queries["is_typo"].astype(bool) == (is_typo and index >= 0))
                )
                if wanted.any() and len(candidates):
                    chosen[wanted] = generator.choice(candidates, size=wanted.sum())
    return chosen


def _block(kind: str, who: np.ndarray, at: np.ndarray, visit: np.ndarray, **given: np.ndarray) -> Columns:
    count = len(who)
    whole = {name: given.get(name, np.full(count, -1, dtype=np.int64)) for name in ("product", "query", "order")}
    money = {name: given.get(name, np.full(count, np.nan)) for name in ("price", "discount")}
    quantity = given.get("quantity", np.ones(count))
    return {
        "type": np.full(count, kind, dtype=object),
        "who": who,
        "at": at,
        "visit": visit,
        "quantity": quantity,
        **whole,
        **money,
    }


def _as_log(
    columns: Columns, crowd: Columns, products: Columns, queries: Columns, channel: np.ndarray, chunk: int, days: int
) -> Columns:
    """Events in the columns of the contract, in order of time, within the log."""
    end = ENDS_AT.timestamp()
    inside = (columns["at"] >= end - days * DAY) & (columns["at"] < end)
    order = np.lexsort((columns["product"], columns["type"].astype(str), columns["who"], np.floor(columns["at"] * 1e3)))
    order = order[inside[order]]
    c = {name: values[order] for name, values in columns.items()}

    def text(values: np.ndarray, absent: np.ndarray) -> np.ndarray:
        out = np.array(values, dtype=object)
        out[absent] = None
        return out

    def named(prefix: str, numbers: np.ndarray) -> np.ndarray:
        return np.char.add(f"{prefix}{chunk}-", np.maximum(numbers, 0).astype(str))

    where = (
        np.array(CHANNELS, dtype=object)[channel[np.maximum(c["visit"], 0)]]
        if len(channel)
        else np.array([], dtype=object)
    )
    return {
        "customer_id": np.array(_ids(crowd["number"][c["who"]]), dtype=object),
        "occurred_at": (np.floor(c["at"] * 1e3) * 1000).astype("int64").astype("datetime64[us]"),
        "event_type": c["type"],
        "product_id": text(products["product_id"][np.maximum(c["product"], 0)], c["product"] < 0),
        "query": text(queries["query"][np.maximum(c["query"], 0)], c["query"] < 0),
        "quantity": c["quantity"],
        "unit_price": c["price"],
        "discount": np.where(c["discount"] > 0, c["discount"], np.nan),
        "order_id": text(named("o", c["order"]), c["order"] < 0),
        "session_id": text(named("s", c["visit"]), c["visit"] < 0),
        "channel": np.where(c["type"] == "email_open", "email", np.where(c["visit"] < 0, "web", where)).astype(object),
    }


def _ids(numbers: np.ndarray) -> np.ndarray:
    return np.char.add("c", np.char.zfill(numbers.astype(str), 8))


def _dirt(generator: Generator, events: Columns, share: float) -> tuple[Columns, dict[str, int]]:
    """Some rows spoilt, each in one way, and some repeated."""
    count = len(events["occurred_at"])
    each = int(count * share / 2)
    spoilt = generator.permutation(count)[: 5 * each].reshape(5, each)
    events["customer_id"][spoilt[0]] = None
    events["occurred_at"][spoilt[1]] = np.datetime64("2199-01-01T00:00:00", "us")
    priced = spoilt[2][~np.isnan(events["unit_price"][spoilt[2]])]
    events["unit_price"][priced] *= -1.0
    with_product = spoilt[3][np.array([value is not None for value in events["product_id"][spoilt[3]]], dtype=bool)]
    events["product_id"][with_product] = "p99999"
    repeated = np.sort(np.concatenate([np.arange(count), spoilt[4]]))
    made = {
        "missing_customer_id": each,
        "time_out_of_range": each,
        "negative_price": len(priced),
        "unknown_product": len(with_product),
        "duplicates": each,
    }
    return {name: values[repeated] for name, values in events.items()}, made


SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("event_type", "product_id", "query")),
        *((name, pa.float64()) for name in ("quantity", "unit_price", "discount")),
        *((name, pa.string()) for name in ("order_id", "session_id", "channel")),
    ]
)


def _write_events(path: Path, events: Columns, file_format: str, generator: Generator, dirty: dict[str, int]) -> None:
    table = pa.table({field.name: pa.array(events[field.name], type=field.type, from_pandas=True) for field in SCHEMA})
    if file_format == "parquet":
        pyarrow.parquet.write_table(table, path.with_suffix(".parquet"), compression="zstd")
        return
    pyarrow.csv.write_csv(table, path.with_suffix(".csv"))
    lines = path.with_suffix(".csv").read_bytes().split(b"\n")
    broken = generator.choice(np.arange(1, len(lines) - 1), size=max(1, len(lines) // 2000), replace=False)
    for number in broken.tolist():
        lines[number] = lines[number].replace(b'"view"', b'"vi\xff\xfew"').replace(b'"search"', b'"se\xc3rch"')
    dirty["broken_encoding"] = sum(b"\xff\xfe" in lines[n] or b"\xc3rch" in lines[n] for n in broken.tolist())
    path.with_suffix(".csv").write_bytes(b"\n".join(lines))


def _people(crowd: Columns) -> pa.Table:
    """Everybody with the truth, and what the shop knows of those who registered."""
    training = ENDS_AT - timedelta(days=DAYS_AFTER_TRAINING)
    first = ((training.timestamp() - crowd["first"] * DAY) * 1e6).astype("int64")
    seconds = np.array([f"{root} > {second}" for second, (root, *_) in CATALOGUE.items()])

    def attribute(names: tuple[str, ...], values: np.ndarray, missing: np.ndarray) -> pa.Array:
        return pa.array(np.array(names, dtype=object)[values], mask=missing, type=pa.string())

    tastes = [
        [seconds[index] for index, share in zip(row, shares, strict=True) if share > 0.15]
        for row, shares in zip(crowd["top_tastes"], crowd["taste_shares"], strict=True)
    ]
    moments = pa.array(first, type=pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return pa.table(
        {
            "customer_id": pa.array(_ids(crowd["number"]), type=pa.string()),
            "kind": pa.array([KINDS[index].name for index in crowd["kind"]], type=pa.string()),
            "interests": pa.array(tastes, type=pa.list_(pa.string())),
            "first_seen_at": moments,
            "is_new_after_training": pa.array(crowd["first"] < 0),
            "registered_at": pa.array(first, mask=~crowd["registered"], type=pa.int64()).cast(
                pa.timestamp("us", tz="UTC")
            ),
            "city": attribute(CITIES, crowd["city"], crowd["missing"][0]),
            "age_band": attribute(AGE_BANDS, crowd["age"], crowd["missing"][1]),
            "gender": attribute(("f", "m"), crowd["gender"], crowd["missing"][2]),
        }
    )


def _parquet(path: Path, table: pa.Table | Columns) -> None:
    arrow = (
        table
        if isinstance(table, pa.Table)
        else pa.table({name: pa.array(values.tolist()) for name, values in table.items()})
    )
    pyarrow.parquet.write_table(arrow, path, compression="zstd")
