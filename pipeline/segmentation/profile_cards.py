"""The 5W card of each segment: who, what, why, when, where. It shows only reliable differences from the shop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import pandas as pd

from models.audiences import audience_counts, audiences
from models.disclosure import rounded_count
from models.identity import RULE_GROUP_PREFIX
from models.naming import category_in_languages
from models.segment_names import Texts
from models.segments import QUESTIONS, Card, CardLine
from models.significance import CELL, compare_counts, compare_means, published_figures, shown_counts
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.descriptions.card_tables import (
    ATTRIBUTE,
    WHY,
    attribute_counts,
    benefit_sums,
    customers_in_audiences,
    visit_sums,
)

QUESTION_OF_TOPIC = {"occasion": "why", "channel": "where", "category": "what", "categories": "what"}
"""Topic -> question. Other visit topics belong to when, and attributes to who or, for places, to where."""


class Audience(TypedDict):
    """Customers interested in a category, as in summary.json."""

    category: str
    customer_count: int
    customer_share: float
    label: str


class ExaminedAttributes(TypedDict):
    """The columns of the customers' table that were examined, as in summary.json.

    ``customer_count`` is the number of customers with a value in the most complete of them; ``is_shown`` says whether
    any card shows one.
    """

    columns: list[str]
    customer_count: int
    is_shown: bool


@dataclass(frozen=True)
class Cards:
    """The contents of all cards.

    Attributes
    ----------
    by_segment : dict of str to Card
    audiences : list of Audience
        Of all clustered customers.
    attributes : ExaminedAttributes or None
        None if no column of the customers' table was examined.
    notes : tuple of str
        Columns of the customers' table that are left out, and why.
    """

    by_segment: dict[str, Card]
    audiences: list[Audience]
    attributes: ExaminedAttributes | None
    notes: tuple[str, ...]


def add_cards(
    source: Source, profiles: Profiles, facets: Sequence[Segments], params: Params
) -> tuple[list[Segments], Cards]:
    """Add the card to the segments of all facets; needs the open database.

    The returned cards are those of the first facet, including its audiences and attributes.
    """
    in_audience = customers_in_audiences(source, profiles, params)
    visits = visit_sums(profiles, {segments.facet.name: segments.segment_ids for segments in facets}, params)
    all_cards = [
        build_cards(source, profiles, segments, in_audience, visits[segments.facet.name], params) for segments in facets
    ]
    with_cards = [
        replace(
            segments,
            rows=tuple(replace(segment, card=cards.by_segment[segment.segment_id]) for segment in segments.rows),
        )
        for segments, cards in zip(facets, all_cards, strict=True)
    ]
    return with_cards, all_cards[0]


def build_cards(
    source: Source,
    profiles: Profiles,
    segments: Segments,
    in_audience: pd.DataFrame,
    visits: pd.DataFrame,
    params: Params,
) -> Cards:
    """The cards of all segments. Clustered segments are compared with each other, and so are rule-based groups.

    Parameters
    ----------
    in_audience : DataFrame
        `models.audiences.audience_membership` of all customers.
    visits : DataFrame
        `visit_sums` of the facet.
    """
    counts, known, notes = attribute_counts(source, profiles, segments.segment_ids, params)
    compared = _compared_tables(profiles, segments, in_audience, visits, counts, known)
    lines = [line for tables in compared for line in _reliable_lines(tables, segments, params)]
    cards = {segment.segment_id: _card_of(segment.segment_id, lines) for segment in segments.rows}
    return Cards(
        cards,
        _audience_rows(segments, in_audience, params),
        _examined_attributes(known, cards, params.naming.min_group),
        notes,
    )


@dataclass(frozen=True)
class ComparedTables:
    """What the segments that are compared with each other have, as input of `models.significance`.

    Attributes
    ----------
    attributes, interests : DataFrame
        Customers per topic, value and segment.
    attributes_known, interests_known : DataFrame
        Customers per topic and segment whose value is known, and the size of the segment.
    visits, benefits : DataFrame
        Sums of shares of visits, and of figures that show what buyers look for.
    """

    attributes: pd.DataFrame
    attributes_known: pd.DataFrame
    interests: pd.DataFrame
    interests_known: pd.DataFrame
    visits: pd.DataFrame
    benefits: pd.DataFrame


def _compared_tables(
    profiles: Profiles,
    segments: Segments,
    in_audience: pd.DataFrame,
    visits: pd.DataFrame,
    counts: pd.DataFrame,
    known: pd.DataFrame,
) -> Iterator[ComparedTables]:
    """The tables of the rule-based groups, and those of the clustered segments."""
    ids = segments.segment_ids
    sizes = pd.Series(ids).value_counts().rename_axis("segment_id").rename("known_count").reset_index()
    size_of = sizes.set_index("segment_id").known_count
    interests = audience_counts(in_audience, ids)
    interests_known = sizes.merge(pd.DataFrame({"topic": ["category", "categories"]}), how="cross")
    benefits = benefit_sums(profiles.table, ids)
    for is_rule_based in (True, False):
        compared = [segment.segment_id for segment in segments.rows if segment.is_rule_based is is_rule_based]

        def of_compared(table: pd.DataFrame, compared: list[str] = compared) -> pd.DataFrame:
            return table[table.segment_id.isin(compared)]

        def with_size(table: pd.DataFrame, compared: list[str] = compared) -> pd.DataFrame:
            return table[table.segment_id.isin(compared)].assign(segment_size=table.segment_id.map(size_of))

        yield ComparedTables(
            attributes=of_compared(counts),
            attributes_known=with_size(known),
            interests=of_compared(interests),
            interests_known=with_size(interests_known),
            visits=with_size(visits),
            benefits=with_size(benefits),
        )


def _reliable_lines(tables: ComparedTables, segments: Segments, params: Params) -> Iterator[tuple[str, str, CardLine]]:
    """segment_id, question and line of every reliable difference."""
    names, reliable_interests = _names(segments, params), _reliable_interests(segments)
    for cells in (
        _lines_of_counts(tables.attributes, tables.attributes_known, params),
        _lines_of_counts(tables.interests, tables.interests_known, params, reliable_interests),
        _lines_of_means(tables.visits, params, two_sided=False),
        _lines_of_means(tables.benefits, params, two_sided=True),
    ):
        yield from _card_lines(cells, names, params)


def _card_of(segment_id: str, lines: Sequence[tuple[str, str, CardLine]]) -> Card:
    own = [(question, line) for other, question, line in lines if other == segment_id]
    return Card(**{question: tuple(line for asked, line in own if asked == question) for question in QUESTIONS})


def _audience_rows(segments: Segments, in_audience: pd.DataFrame, params: Params) -> list[Audience]:
    """Audiences of all clustered customers; of all customers, if nobody is clustered."""
    inside = ~pd.Series(segments.segment_ids).str.startswith(RULE_GROUP_PREFIX).to_numpy()
    of_clustered = in_audience[inside] if inside.any() else in_audience
    return [
        {
            "category": str(audience["category"]),
            "customer_count": int(audience["customer_count"]),
            "customer_share": float(audience["customer_share"]),
            "label": segments.labels.get(str(audience["category"]), str(audience["category"])),
        }
        for audience in audiences(of_clustered, min_group=params.naming.min_group)
    ]


def _lines_of_counts(
    counts: pd.DataFrame, known: pd.DataFrame, params: Params, allowed: set[tuple[str, str]] | None = None
) -> pd.DataFrame:
    if counts.empty:
        return pd.DataFrame()
    cells, settings = compare_counts(counts, known=known, min_group=params.naming.min_group), params.cards
    is_reported = (cells.q_value <= settings.false_discovery_rate) & (cells.lift >= settings.min_lift)
    is_reported &= _is_known_of_enough(cells, params)
    if allowed is not None:
        pairs = zip(cells.segment_id, cells.value, strict=True)
        is_reported &= (cells.topic != "category") | np.array([pair in allowed for pair in pairs], dtype=bool)
    return shown_counts(cells, min_group=params.naming.min_group, is_reported=is_reported)


def _lines_of_means(sums: pd.DataFrame, params: Params, *, two_sided: bool) -> pd.DataFrame:
    if sums.empty:
        return pd.DataFrame()
    cells, settings = compare_means(sums), params.cards
    more, less = cells.lift >= settings.min_lift, cells.lift <= 1.0 / settings.min_lift
    is_large = (cells.customer_count >= params.naming.min_group) & _is_known_of_enough(cells, params)
    return cells[(cells.q_value <= settings.false_discovery_rate) & (more | (two_sided & less)) & is_large]


def _is_known_of_enough(cells: pd.DataFrame, params: Params) -> pd.Series:
    """Cells known of enough customers to represent the segment: 16 buyers out of 1,000 do not explain the others."""
    return cells.known_count >= params.cards.min_known_share * cells.segment_size


def _reliable_interests(segments: Segments) -> set[tuple[str, str]]:
    """(segment_id, category) with a reliable lift over the same period, so a Christmas rush does not count."""
    lifts = segments.lifts
    row, column = np.nonzero(lifts.to_numpy(np.float64) > 1.0)
    return set(zip(lifts.index[row], lifts.columns[column], strict=True))


def _names(segments: Segments, params: Params) -> dict[str, Texts]:
    """Names of occasions and categories, per language."""
    categories: dict[str, Texts] = {name: category_in_languages(label) for name, label in segments.labels.items()}
    return categories | {name: occasion.name.model_dump() for name, occasion in params.cards.occasions.items()}


def _card_lines(cells: pd.DataFrame, names: Mapping[str, Texts], params: Params) -> Iterator[tuple[str, str, CardLine]]:
    """segment_id, question and line: the largest differences from the shop first, and a few for each topic."""
    if cells.empty:
        return
    cells = cells.assign(distance=np.abs(np.log(cells.lift.clip(lower=1e-9)))).sort_values(
        ["distance", *CELL], ascending=[False, True, True, True]
    )
    cells = cells.groupby(["segment_id", "topic"], sort=False).head(params.cards.most_lines)
    for cell in cells.to_dict("records"):
        topic, value = cell["topic"], cell["value"]
        figures = published_figures(cell, params.naming.min_group)
        if max(figures["lift"], 1.0 / figures["lift"]) < params.cards.min_lift:  # rounded, it is no difference
            continue
        line = CardLine(
            topic=topic.removeprefix(ATTRIBUTE),
            is_attribute=topic.startswith(ATTRIBUTE),
            value=value,
            **figures,
            names=names[value] if topic in ("occasion", "category") else None,
        )
        yield cell["segment_id"], _question(topic, params), line


def _question(topic: str, params: Params) -> str:
    if topic.startswith(ATTRIBUTE):
        places = [place.lower() for place in params.cards.place_columns]
        return "where" if topic.removeprefix(ATTRIBUTE).lower() in places else "who"
    return QUESTION_OF_TOPIC.get(topic, "why" if topic in WHY else "when")


def _examined_attributes(known: pd.DataFrame, cards: Mapping[str, Card], min_group: int) -> ExaminedAttributes | None:
    """`Cards.attributes`."""
    if known.empty:
        return None
    by_column = known.groupby("topic").known_count.sum()
    return {
        "columns": [topic.removeprefix(ATTRIBUTE) for topic in by_column.index],
        "customer_count": rounded_count(by_column.max(), min_group),
        "is_shown": any(line.is_attribute for card in cards.values() for line in card.lines),
    }
