"""Events that result from steps: favourites, carts and orders, and later returns, contacts and emails."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pipeline.simulate.calendar import DAY, HOUR, Calendar
from pipeline.simulate.catalogue import Catalogue
from pipeline.simulate.customers import CustomerBatch
from pipeline.simulate.draws import Array, Flags, Floats, Ints, chance, scale_odds
from pipeline.simulate.personas import CHANNELS
from pipeline.simulate.visits import Steps, Visits, offer_week

EVENT_TYPES = (
    "view", "search", "favourite", "cart", "remove_from_cart", "purchase", "return", "contact", "email_open",
    "email_click",
)  # fmt: skip
TYPE = {name: number for number, name in enumerate(EVENT_TYPES)}
WEB, APP, STORE, EMAIL = range(len(CHANNELS))
OFFER_APPEAL = 1.3
KEPT_IN_ORDER = 0.93
REMOVED_SHARE = 0.22
EMAIL_CLICK_SHARE = 0.15
CONTACT_AFTER_RETURN, CONTACT_AFTER_ORDER = 0.16, 0.03
CHEAP = 12.0


@dataclass(frozen=True)
class Events:
    """Numeric columns, one row per event; missing values are -1 or NaN.

    Attributes
    ----------
    visit : index of the visit, which becomes the session
    flaw : index of the flaw in `log.FLAWS`
    """

    customer: Ints
    at: Ints
    type: Ints
    product: Ints
    query: Ints
    quantity: Floats
    price: Floats
    discount: Floats
    order: Ints
    visit: Ints
    channel: Ints
    flaw: Ints

    def take(self, rows: Array) -> Events:
        """Select rows by index or mask, in that order."""
        return Events(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def concat(parts: list[Events]) -> Events:
        """Concatenate all parts."""
        return Events(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Events)})


def make_events(
    generator: np.random.Generator,
    batch: CustomerBatch,
    catalogue: Catalogue,
    calendar: Calendar,
    visits: Visits,
    steps: Steps,
) -> Events:
    """All events of a batch within the log and within each customer's active time, in no particular order."""
    carted = _carted(generator, batch, catalogue, calendar, visits, steps)
    is_bought = _bought(generator, batch, visits, steps.visit[carted])
    orders = _orders(generator, catalogue, calendar, visits, steps, carted[is_bought])
    channel = _channels(generator, batch, visits, orders.visit)
    orders = _with_channel(orders, channel)
    left = carted[~is_bought & (generator.random(len(carted)) < REMOVED_SHARE)]
    favourited = np.flatnonzero((steps.product >= 0) & chance(generator, batch.favourite[visits.customer[steps.visit]]))
    online = [
        _of_steps("search", steps, visits, catalogue, np.flatnonzero(steps.query >= 0)),
        _of_steps("view", steps, visits, catalogue, np.flatnonzero(steps.product >= 0)),
        _of_steps("favourite", steps, visits, catalogue, favourited, part_of_step=0.3),
        _of_steps("cart", steps, visits, catalogue, carted, part_of_step=0.6),
        _removed(generator, steps, visits, catalogue, left),
    ]
    browsed = _with_channel(Events.concat(online), channel)
    # In-store views are not logged, only the receipt is.
    browsed = browsed.take(channel[browsed.visit] != STORE)
    orders.visit[orders.channel == STORE] = -1
    returns = _returns(generator, batch, catalogue, orders)
    contacts = Events.concat(
        [_contacts(generator, returns, CONTACT_AFTER_RETURN), _contacts(generator, orders, CONTACT_AFTER_ORDER)]
    )
    newsletters = _newsletters(generator, batch, calendar)
    arrivals = _email_arrivals(generator, visits, np.flatnonzero(channel == EMAIL))
    events = Events.concat([browsed, orders, returns, contacts, newsletters, arrivals])
    until = np.minimum(calendar.starts_at + batch.quiet_day * DAY, calendar.ends_at)[events.customer]
    is_follow_up = (events.visit < 0) & (events.type != TYPE["purchase"])
    is_inside = (events.at >= calendar.starts_at) & (events.at < np.where(is_follow_up, until, calendar.ends_at))
    return events.take(is_inside)


def _block(name: str, customer: Ints, at: Ints, **fields_of_type: Array) -> Events:
    count = len(customer)
    numbers = {key: np.full(count, -1) for key in ("product", "query", "order", "visit", "flaw")}
    amounts = {"quantity": np.ones(count), "price": np.full(count, np.nan), "discount": np.full(count, np.nan)}
    columns: dict[str, Array] = {**numbers, **amounts, "channel": np.zeros(count, dtype=np.int64), **fields_of_type}
    return Events(customer=customer, at=at, type=np.full(count, TYPE[name]), **columns)


def _of_steps(
    name: str, steps: Steps, visits: Visits, catalogue: Catalogue, rows: Ints, part_of_step: float = 0.0
) -> Events:
    visit, product = steps.visit[rows], steps.product[rows]
    at = steps.at[rows] + np.floor(steps.seconds[rows] * 1000.0 * part_of_step).astype(np.int64)
    price = np.where(product >= 0, catalogue.prices[product], np.nan)
    return _block(name, visits.customer[visit], at, visit=visit, product=product, query=steps.query[rows], price=price)


def _carted(
    generator: np.random.Generator,
    batch: CustomerBatch,
    catalogue: Catalogue,
    calendar: Calendar,
    visits: Visits,
    steps: Steps,
) -> Ints:
    """Steps whose product is added to the cart; each product at most once per visit."""
    customer = visits.customer[steps.visit]
    is_on_offer = catalogue.offers[offer_week(calendar, visits.started)[steps.visit], steps.product] > 0.0
    appeal = np.where(is_on_offer, OFFER_APPEAL, batch.of_persona("full_price")[customer])
    rows = np.flatnonzero((steps.product >= 0) & chance(generator, batch.cart[customer] * appeal))
    _, first = np.unique(steps.visit[rows] * len(catalogue.prices) + steps.product[rows], return_index=True)
    return np.asarray(rows[np.sort(first)])


def _bought(generator: np.random.Generator, batch: CustomerBatch, visits: Visits, visit: Ints) -> Flags:
    """Which carted items were bought, decided per visit and limited by the persona's maximum number of orders."""
    orders_here = chance(generator, batch.buy[visits.customer])[visit]
    is_bought = orders_here & (generator.random(len(visit)) < KEPT_IN_ORDER)
    has_order = np.zeros(len(visits.customer), dtype=np.int64)
    has_order[visit[is_bought]] = 1
    so_far = np.cumsum(has_order)
    first_visit = np.searchsorted(visits.customer, visits.customer)
    nth = so_far - (so_far - has_order)[first_visit]
    return is_bought & (nth <= batch.of_persona("orders")[visits.customer])[visit]


def _orders(
    generator: np.random.Generator, catalogue: Catalogue, calendar: Calendar, visits: Visits, steps: Steps, rows: Ints
) -> Events:
    """Purchases, one line per product; the lines of an order share its number and timestamp."""
    visit, product = steps.visit[rows], steps.product[rows]
    at = (visits.ended + generator.integers(30_000, 240_000, len(visits.customer)))[visit]
    price = catalogue.prices[product]
    quantity = 1.0 + generator.poisson(np.where(price < CHEAP, 0.6, 0.08))
    off = catalogue.offers[offer_week(calendar, visits.started)[visit], product]
    discount = np.where(off > 0.0, np.round(price * quantity * off, 2), np.nan)
    return _block(
        "purchase", visits.customer[visit], at,
        visit=visit, order=visit.copy(), product=product, price=price, quantity=quantity, discount=discount,
    )  # fmt: skip


def _channels(generator: np.random.Generator, batch: CustomerBatch, visits: Visits, visits_with_order: Ints) -> Ints:
    """The channel of each visit; store visits are recorded only if they have an order."""
    channel = np.where(chance(generator, batch.app[visits.customer]), APP, WEB)
    channel = np.where(chance(generator, batch.email[visits.customer]), EMAIL, channel)
    has_order = np.zeros(len(channel), dtype=np.bool_)
    has_order[visits_with_order] = True
    return np.where(has_order & chance(generator, batch.store[visits.customer]), STORE, channel)


def _with_channel(events: Events, channel: Ints) -> Events:
    events.channel[:] = channel[events.visit]
    return events


def _removed(generator: np.random.Generator, steps: Steps, visits: Visits, catalogue: Catalogue, rows: Ints) -> Events:
    visit, product = steps.visit[rows], steps.product[rows]
    at = visits.ended[visit] + generator.integers(1_000, 25_000, len(rows))
    return _block(
        "remove_from_cart", visits.customer[visit], at, visit=visit, product=product, price=catalogue.prices[product]
    )


def _returns(generator: np.random.Generator, batch: CustomerBatch, catalogue: Catalogue, orders: Events) -> Events:
    """Items returned within three weeks, clothes more often than food; some are returned in the store."""
    factor = catalogue.returns[catalogue.leaf_seconds[catalogue.product_leaves[orders.product]]]
    returned = orders.take(chance(generator, scale_odds(batch.return_chance[orders.customer], factor)))
    at = returned.at + generator.integers(2 * DAY, 20 * DAY, len(returned.at))
    to_store = (returned.channel == STORE) | (generator.random(len(returned.at)) < 0.15)
    return _block(
        "return", returned.customer, at, product=returned.product, order=returned.order, price=returned.price,
        quantity=returned.quantity, discount=returned.discount, channel=np.where(to_store, STORE, returned.channel),
    )  # fmt: skip


def _contacts(generator: np.random.Generator, events: Events, share: float) -> Events:
    about = events.take(generator.random(len(events.at)) < share)
    at = about.at + generator.integers(HOUR, 5 * DAY, len(about.at))
    return _block("contact", about.customer, at, order=about.order, channel=np.where(about.channel == APP, APP, WEB))


def _newsletters(generator: np.random.Generator, batch: CustomerBatch, calendar: Calendar) -> Events:
    """Newsletters opened by registered customers, some followed by a click."""
    span = batch.last_day - batch.first_day + 1
    weekly = np.where(batch.is_registered, batch.of_persona("emails_per_week"), 0.0)
    opened = generator.poisson(weekly * span / 7.0 * generator.gamma(0.6, 1.0 / 0.6, len(span)))
    customer = np.repeat(np.arange(len(span)), opened)
    day = batch.first_day[customer] + np.floor(span[customer] * generator.random(len(customer))).astype(np.int64)
    delay = generator.exponential(3.0 * HOUR, len(customer)).astype(np.int64)
    at = calendar.starts_at + day * DAY + 7 * HOUR + delay
    channel = np.full(len(customer), EMAIL)
    clicks = np.flatnonzero(generator.random(len(customer)) < EMAIL_CLICK_SHARE)
    clicked_at = at[clicks] + generator.integers(4_000, 90_000, len(clicks))
    return Events.concat(
        [
            _block("email_open", customer, at, channel=channel),
            _block("email_click", customer[clicks], clicked_at, channel=channel[clicks]),
        ]
    )


def _email_arrivals(generator: np.random.Generator, visits: Visits, rows: Ints) -> Events:
    """The email open and click that started a visit."""
    clicked = visits.started[rows] - generator.integers(2_000, 10_000, len(rows))
    opened = clicked - generator.integers(5_000, 60_000, len(rows))
    channel = np.full(len(rows), EMAIL)
    return Events.concat(
        [
            _block(name, visits.customer[rows], at, visit=rows, channel=channel)
            for name, at in (("email_open", opened), ("email_click", clicked))
        ]
    )
