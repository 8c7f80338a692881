"""Visits: each consists of one or more chains, and a chain is a search, product views, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.simulate.calendar import HOUR, Calendar
from pipeline.simulate.catalogue import Catalogue
from pipeline.simulate.customers import CustomerBatch
from pipeline.simulate.draws import Flags, Floats, Ints, chance, choose, place_in_group
from pipeline.simulate.queries import Queries

PAUSE = HOUR * 3 // 2
"""Minimum time between the starts of two visits of a customer."""
WANDER_SHARE = 0.1
"""Share of visits outside the customer's interests, such as for a gift."""
FURTHER_INTEREST_SHARE = 0.35
"""Share of further chains in a visit that switch to another interest; the others stay in its category."""
SIBLING_LEAF_SHARE = 0.15
"""Share of views in another leaf of the same second level."""
SECOND_LEVEL_SHARE, VAGUE_SHARE = 0.2, 0.06
NO_CLICK, NO_CLICK_AFTER_TYPO, CLICK_ELSEWHERE = 0.1, 0.4, 0.08
MAX_CHAINS, MAX_VIEWS = 5, 12


@dataclass(frozen=True)
class Visits:
    """One row per visit, sorted by customer and time; ``steps`` is the number of steps."""

    customer: Ints
    second: Ints
    started: Ints
    ended: Ints
    steps: Ints


@dataclass(frozen=True)
class Steps:
    """One row per search or view, sorted by visit and time. ``query`` is -1 for views, ``product`` for searches."""

    visit: Ints
    at: Ints
    seconds: Floats
    query: Ints
    product: Ints


@dataclass(frozen=True)
class _Chains:
    visit: Ints
    leaf: Ints
    query: Ints
    views: Ints


def make_visits(
    generator: np.random.Generator, batch: CustomerBatch, catalogue: Catalogue, queries: Queries, calendar: Calendar
) -> tuple[Visits, Steps]:
    """All searches and product views of a batch of customers."""
    customer, second, interest, started = _starts(generator, batch, catalogue, calendar)
    chains = _chains(generator, batch, catalogue, queries, customer, second, interest)
    steps_of_chain = chains.views + (chains.query >= 0)
    chain = np.repeat(np.arange(len(steps_of_chain)), steps_of_chain)
    visit = chains.visit[chain]
    is_search = (place_in_group(steps_of_chain) == 0) & (chains.query[chain] >= 0)
    seconds = np.minimum(
        np.where(is_search, 6.0, 8.0) + np.where(is_search, 10.0, 45.0) * generator.standard_exponential(len(chain)),
        600.0,
    )
    counts = np.bincount(visit, minlength=len(customer))
    elapsed = np.cumsum(np.floor(seconds * 1000.0).astype(np.int64))
    before = np.concatenate([[0], elapsed])[np.cumsum(counts) - counts]
    steps = Steps(
        visit=visit,
        at=started[visit] + elapsed - np.floor(seconds * 1000.0).astype(np.int64) - before[visit],
        seconds=seconds,
        query=np.where(is_search, chains.query[chain], -1),
        product=_products(
            generator, batch, catalogue, calendar, customer[visit], started[visit], chains.leaf[chain], is_search
        ),
    )
    ended = started + elapsed[np.cumsum(counts) - 1] - before if len(customer) else started
    return Visits(customer=customer, second=second, started=started, ended=ended, steps=counts), steps


def _starts(
    generator: np.random.Generator, batch: CustomerBatch, catalogue: Catalogue, calendar: Calendar
) -> tuple[Ints, Ints, Ints, Ints]:
    """Customer, second level, interest (-1: none of the customer's) and start of each visit, by customer and time."""
    customer = np.repeat(np.arange(len(batch.numbers)), batch.visit_counts)
    interest = choose(generator, batch.interest_tastes[customer])
    interest[generator.random(len(customer)) < WANDER_SHARE] = -1
    random_second = generator.choice(
        len(catalogue.popularity), len(customer), p=catalogue.popularity / catalogue.popularity.sum()
    )
    second = np.where(interest < 0, random_second, batch.interests[customer, interest])
    day = calendar.draw_days(
        generator,
        second,
        weekend=batch.weekend[customer],
        first=batch.first_day[customer],
        last=batch.last_day[customer],
    )
    started = calendar.moments(generator, day, batch.day_part_tastes[customer]) + generator.integers(
        0, 1000, len(customer)
    )
    order = np.lexsort((started, customer))
    customer, second, interest, started = customer[order], second[order], interest[order], started[order]
    is_separate = np.ones(len(customer), dtype=np.bool_)
    is_separate[1:] = (customer[1:] != customer[:-1]) | (started[1:] - started[:-1] >= PAUSE)
    return customer[is_separate], second[is_separate], interest[is_separate], started[is_separate]


def _chains(
    generator: np.random.Generator,
    batch: CustomerBatch,
    catalogue: Catalogue,
    queries: Queries,
    visit_customer: Ints,
    visit_second: Ints,
    visit_interest: Ints,
) -> _Chains:
    """The chains of each visit: the leaf category, the query if any, and the number of products viewed."""
    counts = np.minimum(1 + generator.poisson(batch.chains[visit_customer]), MAX_CHAINS)
    visit = np.repeat(np.arange(len(visit_customer)), counts)
    customer, second, interest = visit_customer[visit], visit_second[visit].copy(), visit_interest[visit].copy()
    switches = (place_in_group(counts) > 0) & (generator.random(len(visit)) < FURTHER_INTEREST_SHARE)
    interest[switches] = choose(generator, batch.interest_tastes[customer[switches]])
    second[switches] = batch.interests[customer[switches], interest[switches]]
    by_taste = choose(generator, batch.leaf_tastes[customer, np.maximum(interest, 0)])
    by_chance = np.floor(catalogue.leaf_counts[second] * generator.random(len(visit))).astype(np.int64)
    leaf = catalogue.first_leaf[second] + np.where(interest < 0, by_chance, by_taste)

    searches = chance(generator, batch.search[customer])
    views = np.clip(1 + generator.poisson(batch.views[customer] - 1.0), 1, MAX_VIEWS)
    query = np.full(len(visit), -1)
    leaf[searches], views[searches], query[searches] = _searches(
        generator, catalogue, queries, batch.language[customer[searches]], leaf[searches], views[searches]
    )
    return _Chains(visit=visit, leaf=leaf, query=query, views=views)


def _searches(
    generator: np.random.Generator, catalogue: Catalogue, queries: Queries, language: Ints, leaf: Ints, views: Ints
) -> tuple[Ints, Ints, Ints]:
    """The leaf that each search led to: mostly the intended one, sometimes another, or none (views 0)."""
    draw = generator.random(len(leaf))
    meaning = len(catalogue.second_paths) + leaf
    meaning = np.where(draw < SECOND_LEVEL_SHARE + VAGUE_SHARE, catalogue.leaf_seconds[leaf], meaning)
    meaning = np.where(draw < VAGUE_SHARE, queries.vague, meaning)
    query, is_typo = queries.draw(generator, language, meaning)
    outcome = generator.random(len(leaf))
    no_click = np.where(is_typo | (meaning == queries.vague), NO_CLICK_AFTER_TYPO, NO_CLICK)
    elsewhere = (outcome >= no_click) & (outcome < no_click + CLICK_ELSEWHERE)
    other = generator.integers(0, len(catalogue.leaf_paths), len(leaf))
    return np.where(elsewhere, other, leaf), np.where(outcome < no_click, 0, views), query


def _products(
    generator: np.random.Generator,
    batch: CustomerBatch,
    catalogue: Catalogue,
    calendar: Calendar,
    customer: Ints,
    started: Ints,
    leaf: Ints,
    is_search: Flags,
) -> Ints:
    """The product viewed at each step, -1 for a search; some customers switch to offers or pricier products."""
    second = catalogue.leaf_seconds[leaf]
    sibling = catalogue.first_leaf[second] + np.floor(catalogue.leaf_counts[second] * generator.random(len(leaf)))
    leaf = np.where(generator.random(len(leaf)) < SIBLING_LEAF_SHARE, sibling, leaf).astype(np.int64)
    product = catalogue.products_of(leaf, generator.random(len(leaf)))
    other = catalogue.products_of(leaf, generator.random(len(leaf)))
    week = offer_week(calendar, started)
    offers = catalogue.offers
    is_better_offer = (offers[week, product] == 0.0) & (offers[week, other] > 0.0)
    switches = is_better_offer & chance(generator, batch.of_persona("offer_seeking")[customer])
    switches |= (catalogue.prices[other] > catalogue.prices[product]) & chance(
        generator, batch.of_persona("price_seeking")[customer]
    )
    return np.where(is_search, -1, np.where(switches, other, product))


def offer_week(calendar: Calendar, at: Ints) -> Ints:
    """The offer week of the catalogue at each timestamp."""
    return np.asarray((at - calendar.starts_at) // (7 * 24 * HOUR))
