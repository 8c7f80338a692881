"""A chunk of customers: of which kind each is, what they like, and how they shop. None behaves as the kind's mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.simulate.calendar import DAY
from pipeline.simulate.catalogue import Catalogue
from pipeline.simulate.draws import Array, Flags, Floats, Ints, chance, choose, cumulative_shares, jitter
from pipeline.simulate.personas import (
    AGE_BANDS,
    CITIES,
    DAY_PART_TASTES,
    FOLLOW_UP_DAYS,
    GENDERS,
    KINDS,
    LANGUAGE_SHARES,
    LANGUAGES,
    MISSING_SHARES,
)

INTERESTS = 3
INTEREST_COUNT_SHARES = (0.45, 0.35, 0.2)
NEIGHBOUR_PULL = 1.3
"""Log-weight that a further interest gains under the root of the first: cats and dogs, rather than cats and lamps."""


@dataclass(frozen=True)
class Crowd:
    """Customers, a row each; days are numbered from the log's first.

    Attributes
    ----------
    interests, interest_tastes : (customers, 3)
        Second levels, and their cumulative shares; what lies past ``interest_counts`` is never chosen.
    leaf_tastes : (customers, 3, leaves)
        Cumulative shares of the leaves of each interest.
    quiet_day : by customer
        From which nothing more is heard, returns and letters included.
    """

    numbers: Ints
    kind: Ints
    first_day: Ints
    last_day: Ints
    quiet_day: Ints
    visit_counts: Ints
    interests: Ints
    interest_counts: Ints
    interest_tastes: Floats
    leaf_tastes: Floats
    language: Ints
    weekend: Floats
    day_part_tastes: Floats
    app: Floats
    store: Floats
    email: Floats
    is_registered: Flags
    chains: Floats
    views: Floats
    search: Floats
    favourite: Floats
    cart: Floats
    buy: Floats
    back: Floats

    def of_kind(self, name: str) -> Array:
        """A field of each customer's kind."""
        return np.array([getattr(kind, name) for kind in KINDS])[self.kind]


def make_crowd(
    generator: np.random.Generator,
    numbers: Ints,
    catalogue: Catalogue,
    *,
    days: int,
    training_day: int,
    visits_times: float,
) -> Crowd:
    """Draw the customers with these numbers; ``visits_times`` multiplies the visits of those who come again."""
    count = len(numbers)
    kind = generator.choice(len(KINDS), count, p=np.array([kind.share for kind in KINDS]))

    def of_kind(name: str) -> Array:
        return np.array([getattr(one, name) for one in KINDS])[kind]

    first, last = _days_of_activity(
        generator, of_kind("first"), of_kind("last"), of_kind("stay_days"), days, training_day
    )
    interest_counts = 1 + generator.choice(INTERESTS, count, p=INTEREST_COUNT_SHARES)
    interests = _interests(generator, catalogue, count)
    tastes = generator.dirichlet((2.5, 1.2, 0.8), count)
    tastes = np.where(np.arange(INTERESTS) < interest_counts[:, None], -np.sort(-tastes, axis=1), 0.0)
    is_registered = chance(generator, of_kind("registered"))
    return Crowd(
        numbers=numbers,
        kind=kind,
        first_day=first,
        last_day=last,
        quiet_day=last + max(1, FOLLOW_UP_DAYS * training_day // 365),
        visit_counts=_visit_counts(generator, kind, last - first + 1, visits_times),
        interests=interests,
        interest_counts=interest_counts,
        interest_tastes=cumulative_shares(tastes),
        leaf_tastes=_leaf_tastes(generator, catalogue.leaf_counts[interests]),
        language=generator.choice(len(LANGUAGES), count, p=LANGUAGE_SHARES),
        weekend=generator.beta(1.2, 2.2, count),
        day_part_tastes=cumulative_shares(_dirichlet(generator, np.broadcast_to(DAY_PART_TASTES, (count, 4)))),
        app=generator.beta(0.6, 0.9, count),
        store=generator.beta(0.3, 2.5, count),
        email=np.where(is_registered & (of_kind("letters_a_week") > 0.0), generator.beta(0.5, 6.0, count), 0.0),
        is_registered=is_registered,
        chains=of_kind("chains") * generator.gamma(3.0, 1.0 / 3.0, count),
        views=1.0 + (of_kind("views") - 1.0) * generator.gamma(3.0, 1.0 / 3.0, count),
        search=jitter(generator, of_kind("search"), strength=4.0),
        favourite=jitter(generator, of_kind("favourite"), strength=20.0),
        cart=jitter(generator, of_kind("cart")),
        buy=jitter(generator, of_kind("buy")),
        back=jitter(generator, of_kind("back")),
    )


def _days_of_activity(
    generator: np.random.Generator, first: Floats, last: Floats, stay_days: Floats, days: int, training_day: int
) -> tuple[Ints, Ints]:
    """First and last day, from ranges days before the training date in a year's history; shorter logs shrink them."""

    def day_of(bounds: Floats) -> Floats:
        before = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * generator.random(len(bounds))
        return training_day - np.where(before > 0.0, before * training_day / 365.0, before)

    begins = np.clip(np.floor(day_of(first)), 0, days - 1)
    stay = np.ceil(stay_days * generator.random(len(first)))
    ends = np.clip(np.floor(day_of(last)), 0, days - 1)
    ends = np.minimum(np.maximum(ends, begins), begins + stay)
    return begins.astype(np.int64), ends.astype(np.int64)


def _visit_counts(generator: np.random.Generator, kind: Ints, active_days: Ints, times: float) -> Ints:
    """Visits: Poisson around a rate of one's own, lognormal around the kind's."""
    rate, stay_days, spread, least = np.array([(k.visits, k.stay_days, k.spread, k.least_visits) for k in KINDS])[
        kind
    ].T
    years = np.where(stay_days < 100.0, 1.0, active_days / 365.0)
    mean = times * rate * years * generator.lognormal(-(spread**2) / 2.0, spread)
    drawn = np.where(spread > 0.0, generator.poisson(mean), np.round(rate))
    return np.where(rate > 0.0, np.maximum(drawn, least), 0.0).astype(np.int64)


def _interests(generator: np.random.Generator, catalogue: Catalogue, count: int) -> Ints:
    """Distinct second levels, the popular ones oftener, the further ones rather under the first's root."""
    keys = np.log(catalogue.popularity) + generator.gumbel(size=(count, len(catalogue.popularity)))
    main = np.argmax(keys, axis=1)
    keys += NEIGHBOUR_PULL * (catalogue.second_roots[main][:, None] == catalogue.second_roots[None, :])
    keys[np.arange(count), main] = np.inf
    return np.argsort(-keys, axis=1, kind="stable")[:, :INTERESTS].astype(np.int64)


def _leaf_tastes(generator: np.random.Generator, leaf_counts: Ints) -> Floats:
    places = np.arange(int(leaf_counts.max()))
    return cumulative_shares(_dirichlet(generator, np.where(places < leaf_counts[..., None], 0.9, 0.0)))


def _dirichlet(generator: np.random.Generator, alphas: Floats) -> Floats:
    """Unscaled Dirichlet draws along the last axis, where an alpha of 0 gives 0."""
    return np.where(alphas > 0.0, generator.standard_gamma(np.maximum(alphas, 1e-3)) + 1e-9, 0.0)


# ── what is written of them ───────────────────────────────────────────────────────────────────────────────────────────
def ids(prefix: str, numbers: Array, width: int) -> pa.Array:
    """Identifiers such as c0000012."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, padding="0")
    return pc.binary_join_element_wise(prefix, digits, "")


def moments(values: Array, mask: Array | None = None) -> pa.Array:
    """Milliseconds since 1970 as timestamps in UTC."""
    return pa.array(values * 1000, mask=mask, type=pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def truth_table(crowd: Crowd, catalogue: Catalogue, first_seen: Ints, training_at: int) -> pa.Table:
    """Truth (customer_id, kind, interests, first_seen_at, is_new_after_training), one row per customer."""
    is_own = np.arange(INTERESTS) < crowd.interest_counts[:, None]
    offsets = np.concatenate([[0], np.cumsum(crowd.interest_counts)]).astype(np.int32)
    paths = pa.array(catalogue.second_paths, pa.string()).take(pa.array(crowd.interests[is_own]))
    return pa.table(
        {
            "customer_id": ids("c", crowd.numbers, 7),
            "kind": pa.array([kind.name for kind in KINDS]).take(pa.array(crowd.kind)),
            "interests": pa.ListArray.from_arrays(pa.array(offsets), paths),
            "first_seen_at": moments(first_seen),
            "is_new_after_training": first_seen >= training_at,
        }
    )


def customers_table(generator: np.random.Generator, crowd: Crowd, first_seen: Ints) -> pa.Table:
    """Customers (customer_id, registered_at, city, age_band, gender) who registered: some before the log began."""
    rows = np.flatnonzero(crowd.is_registered)
    known_for = np.where(crowd.first_day[rows] == 0, generator.exponential(400.0 * DAY, len(rows)), 0.0)
    registered_at = (
        first_seen[rows] - np.floor(known_for).astype(np.int64) - generator.integers(1_000, 60_000, len(rows))
    )

    def attribute(name: str, names: list[str], chosen: Ints) -> pa.Array:
        is_missing = generator.random(len(rows)) < MISSING_SHARES[name]
        return pa.array(names, pa.string()).take(pa.array(chosen, mask=is_missing))

    cities = list(dict.fromkeys(city for by_language in CITIES.values() for city, _ in by_language))
    city_weights = np.array(
        [[dict(CITIES[name]).get(city, 0) for city in cities] for name in LANGUAGES], dtype=np.float64
    )
    ages, genders = ([name for name, _ in pairs] for pairs in (AGE_BANDS, GENDERS))
    city = choose(generator, cumulative_shares(city_weights)[crowd.language[rows]])
    return pa.table(
        {
            "customer_id": ids("c", crowd.numbers[rows], 7),
            "registered_at": moments(registered_at),
            "city": attribute("city", cities, city),
            "age_band": attribute(
                "age_band", ages, generator.choice(len(ages), len(rows), p=[p for _, p in AGE_BANDS])
            ),
            "gender": attribute(
                "gender", genders, generator.choice(len(genders), len(rows), p=[p for _, p in GENDERS])
            ),
        }
    )
