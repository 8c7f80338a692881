"""Visits: each follows one chain of interest or a few, and a chain is a search, products viewed, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.simulate.calendar import HOUR, Calendar
from pipeline.simulate.catalogue import Catalogue
from pipeline.simulate.customers import Crowd
from pipeline.simulate.draws import Flags, Floats, Ints, chance, choose, place_in_group
from pipeline.simulate.queries import Queries

PAUSE = HOUR * 3 // 2
"""Between the starts of two visits of a customer, at least."""
WANDER_SHARE = 0.1
"""Visits for something that is none of the customer's interests: a gift, a whim."""
FURTHER_INTEREST_SHARE = 0.35
"""Further chains of a visit that leave its category for another interest; the others stay within it."""
SIBLING_LEAF_SHARE = 0.15
"""Views beside the leaf of their chain, within its second level."""
MEANS_SECOND_LEVEL, MEANS_NOTHING = 0.2, 0.06
NO_CLICK, NO_CLICK_AFTER_TYPO, CLICK_ELSEWHERE = 0.1, 0.4, 0.08
MOST_CHAINS, MOST_VIEWS = 5, 12


@dataclass(frozen=True)
class Visits:
    """One row per visit, by customer and then by time; ``steps`` says how many follow."""

    who: Ints
    second: Ints
    started: Ints
    ended: Ints
    steps: Ints


@dataclass(frozen=True)
class Steps:
    """One row per search or view, by visit and then by time. ``query`` or ``product`` is -1 where it is the other."""

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
    generator: np.random.Generator, crowd: Crowd, catalogue: Catalogue, queries: Queries, calendar: Calendar
) -> tuple[Visits, Steps]:
    """Everything a crowd looked for and looked at."""
    who, second, interest, started = _starts(generator, crowd, catalogue, calendar)
    chains = _chains(generator, crowd, catalogue, queries, who, second, interest)
    steps_of_chain = chains.views + (chains.query >= 0)
    chain = np.repeat(np.arange(len(steps_of_chain)), steps_of_chain)
    visit = chains.visit[chain]
    is_search = (place_in_group(steps_of_chain) == 0) & (chains.query[chain] >= 0)
    seconds = np.minimum(
        np.where(is_search, 6.0, 8.0) + np.where(is_search, 10.0, 45.0) * generator.standard_exponential(len(chain)),
        600.0,
    )
    counts = np.bincount(visit, minlength=len(who))
    elapsed = np.cumsum(np.floor(seconds * 1000.0).astype(np.int64))
    before = np.concatenate([[0], elapsed])[np.cumsum(counts) - counts]
    steps = Steps(
        visit=visit,
        at=started[visit] + elapsed - np.floor(seconds * 1000.0).astype(np.int64) - before[visit],
        seconds=seconds,
        query=np.where(is_search, chains.query[chain], -1),
        product=_products(
            generator, crowd, catalogue, calendar, who[visit], started[visit], chains.leaf[chain], is_search
        ),
    )
    ended = started + elapsed[np.cumsum(counts) - 1] - before if len(who) else started
    return Visits(who=who, second=second, started=started, ended=ended, steps=counts), steps


def _starts(
    generator: np.random.Generator, crowd: Crowd, catalogue: Catalogue, calendar: Calendar
) -> tuple[Ints, Ints, Ints, Ints]:
    """Customer, second level, interest (-1: none of theirs) and start of each visit, by customer and time."""
    who = np.repeat(np.arange(len(crowd.numbers)), crowd.visit_counts)
    interest = choose(generator, crowd.interest_tastes[who])
    interest[generator.random(len(who)) < WANDER_SHARE] = -1
    anything = generator.choice(
        len(catalogue.popularity), len(who), p=catalogue.popularity / catalogue.popularity.sum()
    )
    second = np.where(interest < 0, anything, crowd.interests[who, interest])
    day = calendar.draw_days(
        generator, second, weekend=crowd.weekend[who], first=crowd.first_day[who], last=crowd.last_day[who]
    )
    started = calendar.moments(generator, day, crowd.day_part_tastes[who]) + generator.integers(0, 1000, len(who))
    order = np.lexsort((started, who))
    who, second, interest, started = who[order], second[order], interest[order], started[order]
    is_apart = np.ones(len(who), dtype=np.bool_)
    is_apart[1:] = (who[1:] != who[:-1]) | (started[1:] - started[:-1] >= PAUSE)
    return who[is_apart], second[is_apart], interest[is_apart], started[is_apart]


def _chains(
    generator: np.random.Generator,
    crowd: Crowd,
    catalogue: Catalogue,
    queries: Queries,
    visit_who: Ints,
    visit_second: Ints,
    visit_interest: Ints,
) -> _Chains:
    """The chains of each visit: what each is about, its search if it has one, and how many products are viewed."""
    counts = np.minimum(1 + generator.poisson(crowd.chains[visit_who]), MOST_CHAINS)
    visit = np.repeat(np.arange(len(visit_who)), counts)
    who, second, interest = visit_who[visit], visit_second[visit].copy(), visit_interest[visit].copy()
    leaves_it = (place_in_group(counts) > 0) & (generator.random(len(visit)) < FURTHER_INTEREST_SHARE)
    interest[leaves_it] = choose(generator, crowd.interest_tastes[who[leaves_it]])
    second[leaves_it] = crowd.interests[who[leaves_it], interest[leaves_it]]
    by_taste = choose(generator, crowd.leaf_tastes[who, np.maximum(interest, 0)])
    by_chance = np.floor(catalogue.leaf_counts[second] * generator.random(len(visit))).astype(np.int64)
    leaf = catalogue.first_leaf[second] + np.where(interest < 0, by_chance, by_taste)

    searches = chance(generator, crowd.search[who])
    views = np.clip(1 + generator.poisson(crowd.views[who] - 1.0), 1, MOST_VIEWS)
    query = np.full(len(visit), -1)
    leaf[searches], views[searches], query[searches] = _searches(
        generator, catalogue, queries, crowd.language[who[searches]], leaf[searches], views[searches]
    )
    return _Chains(visit=visit, leaf=leaf, query=query, views=views)


def _searches(
    generator: np.random.Generator, catalogue: Catalogue, queries: Queries, language: Ints, leaf: Ints, views: Ints
) -> tuple[Ints, Ints, Ints]:
    """Where each search led: to what was meant mostly, elsewhere sometimes, or to nothing (views 0)."""
    draw = generator.random(len(leaf))
    meaning = len(catalogue.second_paths) + leaf
    meaning = np.where(draw < MEANS_SECOND_LEVEL + MEANS_NOTHING, catalogue.leaf_seconds[leaf], meaning)
    meaning = np.where(draw < MEANS_NOTHING, queries.nothing, meaning)
    query, is_typo = queries.draw(generator, language, meaning)
    outcome = generator.random(len(leaf))
    no_click = np.where(is_typo | (meaning == queries.nothing), NO_CLICK_AFTER_TYPO, NO_CLICK)
    elsewhere = (outcome >= no_click) & (outcome < no_click + CLICK_ELSEWHERE)
    other = generator.integers(0, len(catalogue.leaf_paths), len(leaf))
    return np.where(elsewhere, other, leaf), np.where(outcome < no_click, 0, views), query


def _products(
    generator: np.random.Generator,
    crowd: Crowd,
    catalogue: Catalogue,
    calendar: Calendar,
    who: Ints,
    started: Ints,
    leaf: Ints,
    is_search: Flags,
) -> Ints:
    """The product viewed at each step, -1 for a search; some customers turn to what is on offer, or dearer."""
    second = catalogue.leaf_seconds[leaf]
    sibling = catalogue.first_leaf[second] + np.floor(catalogue.leaf_counts[second] * generator.random(len(leaf)))
    leaf = np.where(generator.random(len(leaf)) < SIBLING_LEAF_SHARE, sibling, leaf).astype(np.int64)
    product = catalogue.products_of(leaf, generator.random(len(leaf)))
    other = catalogue.products_of(leaf, generator.random(len(leaf)))
    week = offer_week(calendar, started)
    offers = catalogue.offers
    is_better_offer = (offers[week, product] == 0.0) & (offers[week, other] > 0.0)
    turns = is_better_offer & chance(generator, crowd.of_kind("offer_seeking")[who])
    turns |= (catalogue.prices[other] > catalogue.prices[product]) & chance(
        generator, crowd.of_kind("price_seeking")[who]
    )
    return np.where(is_search, -1, np.where(turns, other, product))


def offer_week(calendar: Calendar, at: Ints) -> Ints:
    """The week of the catalogue's offers at each moment."""
    return np.asarray((at - calendar.starts_at) // (7 * 24 * HOUR))
