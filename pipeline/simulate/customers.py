"""Draw a batch of customers: persona, interests and habits, with individual variation around the persona's means."""

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
    LANGUAGE_SHARES,
    LANGUAGES,
    MISSING_SHARES,
    PERSONAS,
)

INTERESTS = 3
INTEREST_COUNT_SHARES = (0.45, 0.35, 0.2)
NEIGHBOUR_PULL = 1.3
"""Added log-weight for further interests with the same root as the first: cats and dogs rather than cats and lamps."""


@dataclass(frozen=True)
class CustomerBatch:
    """One row per customer; days are numbered from the first day of the log.

    Attributes
    ----------
    interests, interest_tastes : (customers, 3)
        Second-level categories and their cumulative shares; entries beyond ``interest_counts`` are never chosen.
    leaf_tastes : (customers, 3, leaves)
        Cumulative shares of the leaves within each interest.
    quiet_day : by customer
        From this day on there are no more events, including returns and emails.
    """

    numbers: Ints
    persona: Ints
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
    return_chance: Floats

    def of_persona(self, name: str) -> Array:
        """A field of each customer's persona."""
        return np.array([getattr(persona, name) for persona in PERSONAS])[self.persona]


def make_customers(
    generator: np.random.Generator,
    numbers: Ints,
    catalogue: Catalogue,
    *,
    days: int,
    training_day: int,
    visit_factor: float,
) -> CustomerBatch:
    """Draw the customers with these numbers; ``visit_factor`` multiplies the visits of returning customers."""
    count = len(numbers)
    persona = generator.choice(len(PERSONAS), count, p=np.array([persona.share for persona in PERSONAS]))

    def of_persona(name: str) -> Array:
        return np.array([getattr(persona, name) for persona in PERSONAS])[persona]

    first, last = _days_of_activity(
        generator, of_persona("first"), of_persona("last"), of_persona("stay_days"), days, training_day
    )
    interest_counts = 1 + generator.choice(INTERESTS, count, p=INTEREST_COUNT_SHARES)
    interests = _interests(generator, catalogue, count)
    tastes = generator.dirichlet((2.5, 1.2, 0.8), count)
    tastes = np.where(np.arange(INTERESTS) < interest_counts[:, None], -np.sort(-tastes, axis=1), 0.0)
    is_registered = chance(generator, of_persona("registered"))
    return CustomerBatch(
        numbers=numbers,
        persona=persona,
        first_day=first,
        last_day=last,
        quiet_day=last + max(1, FOLLOW_UP_DAYS * training_day // 365),
        visit_counts=_visit_counts(generator, persona, last - first + 1, visit_factor),
        interests=interests,
        interest_counts=interest_counts,
        interest_tastes=cumulative_shares(tastes),
        leaf_tastes=_leaf_tastes(generator, catalogue.leaf_counts[interests]),
        language=generator.choice(len(LANGUAGES), count, p=LANGUAGE_SHARES),
        weekend=generator.beta(1.2, 2.2, count),
        day_part_tastes=cumulative_shares(_dirichlet(generator, np.broadcast_to(DAY_PART_TASTES, (count, 4)))),
        app=generator.beta(0.6, 0.9, count),
        store=generator.beta(0.3, 2.5, count),
        email=np.where(is_registered & (of_persona("emails_per_week") > 0.0), generator.beta(0.5, 6.0, count), 0.0),
        is_registered=is_registered,
        chains=of_persona("chains") * generator.gamma(3.0, 1.0 / 3.0, count),
        views=1.0 + (of_persona("views") - 1.0) * generator.gamma(3.0, 1.0 / 3.0, count),
        search=jitter(generator, of_persona("search"), strength=4.0),
        favourite=jitter(generator, of_persona("favourite"), strength=20.0),
        cart=jitter(generator, of_persona("cart")),
        buy=jitter(generator, of_persona("buy")),
        return_chance=jitter(generator, of_persona("return_chance")),
    )


def _days_of_activity(
    generator: np.random.Generator, first: Floats, last: Floats, stay_days: Floats, days: int, training_day: int
) -> tuple[Ints, Ints]:
    """First and last day. Ranges are days before the training date for a year of history; shorter logs shrink them."""

    def day_of(bounds: Floats) -> Floats:
        before = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * generator.random(len(bounds))
        return training_day - np.where(before > 0.0, before * training_day / 365.0, before)

    begins = np.clip(np.floor(day_of(first)), 0, days - 1)
    stay = np.ceil(stay_days * generator.random(len(first)))
    ends = np.clip(np.floor(day_of(last)), 0, days - 1)
    ends = np.minimum(np.maximum(ends, begins), begins + stay)
    return begins.astype(np.int64), ends.astype(np.int64)


def _visit_counts(generator: np.random.Generator, persona: Ints, active_days: Ints, times: float) -> Ints:
    """Number of visits: Poisson, with a customer rate that is lognormal around the persona's rate."""
    rate, stay_days, spread, minimum = np.array([(k.visits, k.stay_days, k.spread, k.min_visits) for k in PERSONAS])[
        persona
    ].T
    years = np.where(stay_days < 100.0, 1.0, active_days / 365.0)
    mean = times * rate * years * generator.lognormal(-(spread**2) / 2.0, spread)
    drawn = np.where(spread > 0.0, generator.poisson(mean), np.round(rate))
    return np.where(rate > 0.0, np.maximum(drawn, minimum), 0.0).astype(np.int64)


def _interests(generator: np.random.Generator, catalogue: Catalogue, count: int) -> Ints:
    """Distinct second-level categories, weighted by popularity; further ones prefer the root of the first."""
    keys = np.log(catalogue.popularity) + generator.gumbel(size=(count, len(catalogue.popularity)))
    main = np.argmax(keys, axis=1)
    keys += NEIGHBOUR_PULL * (catalogue.second_roots[main][:, None] == catalogue.second_roots[None, :])
    keys[np.arange(count), main] = np.inf
    return np.argsort(-keys, axis=1, kind="stable")[:, :INTERESTS].astype(np.int64)


def _leaf_tastes(generator: np.random.Generator, leaf_counts: Ints) -> Floats:
    places = np.arange(int(leaf_counts.max()))
    return cumulative_shares(_dirichlet(generator, np.where(places < leaf_counts[..., None], 0.9, 0.0)))


def _dirichlet(generator: np.random.Generator, alphas: Floats) -> Floats:
    """Unnormalised Dirichlet draws along the last axis; an alpha of 0 gives 0."""
    return np.where(alphas > 0.0, generator.standard_gamma(np.maximum(alphas, 1e-3)) + 1e-9, 0.0)


# ── output tables ────────────────────────────────────────────────────────────────────────────────────────────────────
def ids(prefix: str, numbers: Array, width: int) -> pa.Array:
    """Identifiers such as c0000012."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, padding="0")
    return pc.binary_join_element_wise(prefix, digits, "")


def moments(values: Array, mask: Array | None = None) -> pa.Array:
    """Milliseconds since 1970 as timestamps in UTC."""
    return pa.array(values * 1000, mask=mask, type=pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def truth_table(batch: CustomerBatch, catalogue: Catalogue, first_seen: Ints, training_at: int) -> pa.Table:
    """Truth (customer_id, kind, interests, first_seen_at, is_new_after_training), one row per customer."""
    is_own = np.arange(INTERESTS) < batch.interest_counts[:, None]
    offsets = np.concatenate([[0], np.cumsum(batch.interest_counts)]).astype(np.int32)
    paths = pa.array(catalogue.second_paths, pa.string()).take(pa.array(batch.interests[is_own]))
    return pa.table(
        {
            "customer_id": ids("c", batch.numbers, 7),
            "kind": pa.array([persona.name for persona in PERSONAS]).take(pa.array(batch.persona)),
            "interests": pa.ListArray.from_arrays(pa.array(offsets), paths),
            "first_seen_at": moments(first_seen),
            "is_new_after_training": first_seen >= training_at,
        }
    )


def customers_table(generator: np.random.Generator, batch: CustomerBatch, first_seen: Ints) -> pa.Table:
    """Registered customers (customer_id, registered_at, city, age_band, gender); some registered before the log."""
    rows = np.flatnonzero(batch.is_registered)
    known_for = np.where(batch.first_day[rows] == 0, generator.exponential(400.0 * DAY, len(rows)), 0.0)
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
    city = choose(generator, cumulative_shares(city_weights)[batch.language[rows]])
    return pa.table(
        {
            "customer_id": ids("c", batch.numbers[rows], 7),
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
