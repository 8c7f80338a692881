"""The 5W card of each segment: who, what, why, when, where. It shows only reliable differences from the shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features import attributes, occasions
from features.categories import OTHER
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from models.audiences import audience_counts, audience_membership, audiences
from models.identity import RULE_GROUP_PREFIX
from models.naming import category_in_languages
from models.significance import CELL, compare_counts, compare_means, shown_counts
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.profiles.seasonality import expected_shares_for_profiles
from pipeline.segmentation.describe import Segments

ATTRIBUTE = "attribute: "
"""Prefix of topics that are columns of the customers' table, so they cannot be confused with other topics."""
QUESTIONS = ("who", "what", "why", "when", "where")
WHY = ("discount_share", "price_level", "brand_loyalty", "novelty_share", "views_per_order")
GROWS_WITH_ORDERS = ("brand_loyalty", "novelty_share")
QUESTION_OF_TOPIC = {"occasion": "why", "channel": "where", "category": "what", "categories": "what"}
"""Topic -> question. Other visit topics belong to when, and attributes to who or, for places, to where."""
MIN_SHARED_VALUES = 0.5
"""A column is shown only if at least this share of its customers have a value in common with ``min_group`` others."""
MAX_SINGLE_NUMBERS = 10
"""A column with at most this many different numbers is shown number by number; with more, in bands."""


@dataclass(frozen=True)
class Cards:
    """The contents of all cards.

    Attributes
    ----------
    five_w : dict
        segment_id -> question of `QUESTIONS` -> lines, the most distinctive first. A line: topic, is_attribute, value,
        figure, shop, lift, q_value, customer_count and, for occasions and categories, names (per language).
    audiences : list of dict
        category, customer_count, customer_share; of all clustered customers.
    attributes : dict or None
        columns: the columns of the customers' table that were examined; customer_count: customers with a value in the
        most complete of them; is_shown: whether any card shows one. None if there are no such columns.
    notes : tuple of str
        Columns of the customers' table that are left out, and why.
    """

    five_w: dict[str, dict[str, list[dict[str, Any]]]]
    audiences: list[dict[str, Any]]
    attributes: dict[str, Any] | None
    notes: tuple[str, ...]


def add_cards(
    source: Source, profiles: Profiles, facets: Sequence[Segments], params: Params
) -> tuple[list[Segments], Cards]:
    """Add the card, as ``five_w``, to the rows of all facets' segments; needs the open database.

    The returned cards are those of the first facet, including its audiences and attributes.
    """
    in_audience = customers_in_audiences(source, profiles, params)
    all_cards = [build_cards(source, profiles, segments, in_audience, params) for segments in facets]
    with_five_w = [
        replace(segments, table=[{**row, "five_w": cards.five_w[row["segment_id"]]} for row in segments.table])
        for segments, cards in zip(facets, all_cards, strict=True)
    ]
    return with_five_w, all_cards[0]


def build_cards(
    source: Source, profiles: Profiles, segments: Segments, in_audience: pd.DataFrame, params: Params
) -> Cards:
    """The cards of all segments. Clustered segments are compared with each other, and so are rule-based groups.

    Parameters
    ----------
    in_audience : DataFrame
        `models.audiences.audience_membership` of all customers.
    """
    ids = segments.segment_ids
    counts, known, notes = attribute_counts(source, profiles, ids, params)
    sizes = pd.Series(ids).value_counts().rename_axis("segment_id").rename("known_count").reset_index()
    size_of = sizes.set_index("segment_id").known_count
    interests = audience_counts(in_audience, ids)
    interests_known = sizes.merge(pd.DataFrame({"topic": ["category", "categories"]}), how="cross")
    visits, benefits = _visit_sums(profiles, ids, params), benefit_sums(profiles.table, ids)
    five_w: dict[str, dict[str, list[dict[str, Any]]]] = {
        row["segment_id"]: {question: [] for question in QUESTIONS} for row in segments.table
    }
    names, reliable_interests = _names(segments, params), _reliable_interests(segments)
    for is_standing in (True, False):
        compared = [row["segment_id"] for row in segments.table if row["is_standing"] is is_standing]

        def with_size(table: pd.DataFrame, compared: list[str] = compared) -> pd.DataFrame:
            return table[table.segment_id.isin(compared)].assign(segment_size=table.segment_id.map(size_of))

        interest_counts = interests[interests.segment_id.isin(compared)]
        for lines in (
            _lines_of_counts(counts[counts.segment_id.isin(compared)], with_size(known), params),
            _lines_of_counts(interest_counts, with_size(interests_known), params, reliable_interests),
            _lines_of_means(with_size(visits), params, two_sided=False),
            _lines_of_means(with_size(benefits), params, two_sided=True),
        ):
            _add_lines(five_w, lines, names, params)
    inside = ~pd.Series(ids).str.startswith(RULE_GROUP_PREFIX).to_numpy()
    of_clustered = in_audience[inside] if inside.any() else in_audience
    labels = segments.labels
    audience_rows = [
        {**audience, "label": labels.get(str(audience["category"]), audience["category"])}
        for audience in audiences(of_clustered, min_group=params.naming.min_group)
    ]
    return Cards(five_w, audience_rows, _examined_attributes(known, five_w), notes)


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


def _names(segments: Segments, params: Params) -> dict[str, dict[str, str]]:
    """Names of occasions and categories, per language."""
    categories = {name: category_in_languages(label) for name, label in segments.labels.items()}
    return categories | {name: occasion.name.model_dump() for name, occasion in params.cards.occasions.items()}


def _add_lines(
    five_w: dict[str, dict[str, list[dict[str, Any]]]],
    lines: pd.DataFrame,
    names: Mapping[str, dict[str, str]],
    params: Params,
) -> None:
    """Add lines to their questions: the largest differences from the shop first, and a few for each topic."""
    if lines.empty:
        return
    lines = lines.assign(distance=np.abs(np.log(lines.lift.clip(lower=1e-9)))).sort_values(
        ["distance", *CELL], ascending=[False, True, True, True]
    )
    lines = lines.groupby(["segment_id", "topic"], sort=False).head(params.cards.most_lines)
    for line in lines.to_dict("records"):
        topic, value = line["topic"], line["value"]
        entry = {
            "topic": topic.removeprefix(ATTRIBUTE),
            "is_attribute": topic.startswith(ATTRIBUTE),
            "value": value,
            **{name: float(line[name]) for name in ("figure", "shop", "lift", "q_value")},
            "customer_count": int(line["customer_count"]),
        }
        if topic in ("occasion", "category"):
            entry["names"] = names[value]
        five_w[line["segment_id"]][_question(topic, params)].append(entry)


def _question(topic: str, params: Params) -> str:
    if topic.startswith(ATTRIBUTE):
        places = [place.lower() for place in params.cards.place_columns]
        return "where" if topic.removeprefix(ATTRIBUTE).lower() in places else "who"
    return QUESTION_OF_TOPIC.get(topic, "why" if topic in WHY else "when")


def attribute_counts(
    source: Source, profiles: Profiles, ids: np.ndarray, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Counts and known counts (see `compare_counts`) of the columns to show, and notes on the others."""
    empty = pd.DataFrame(columns=[*CELL, "customer_count", "known_count"])
    if source.customers is None:
        return empty, empty, ()
    customers = source.customers
    columns, bounds, notes = columns_to_show(customers, params)
    if not columns:
        return empty, empty, notes
    membership = ibis.memtable(pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": ids}))
    counts = attributes.value_counts(customers, membership, columns, bounds).to_pyarrow().to_pandas()
    counts["topic"] = ATTRIBUTE + counts.topic
    known = counts.groupby(["topic", "segment_id"]).customer_count.sum().rename("known_count").reset_index()
    value_totals = counts.groupby(["topic", "value"]).customer_count.transform("sum")
    return counts[value_totals >= params.naming.min_group].sort_values(CELL), known, notes


def _examined_attributes(
    known: pd.DataFrame, five_w: Mapping[str, dict[str, list[dict[str, Any]]]]
) -> dict[str, Any] | None:
    """`Cards.attributes`."""
    if known.empty:
        return None
    by_column = known.groupby("topic").known_count.sum()
    lines = (line for card in five_w.values() for question_lines in card.values() for line in question_lines)
    return {
        "columns": [topic.removeprefix(ATTRIBUTE) for topic in by_column.index],
        "customer_count": int(by_column.max()),
        "is_shown": any(line["is_attribute"] for line in lines),
    }


def columns_to_show(customers: ir.Table, params: Params) -> tuple[list[str], dict[str, list[float]], tuple[str, ...]]:
    """Columns to show, the bounds of those shown in bands, and a note on each column that is left out."""
    columns: list[str] = []
    bounds: dict[str, list[float]] = {}
    notes: list[str] = []
    for name, kind in sorted(attributes.column_kinds(customers).items()):
        spread, reason = None, ""
        if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in params.cards.left_out):
            reason = "it is listed in cards.left_out"
        elif kind == "other":
            reason = "it holds neither texts nor numbers"
        else:
            spread = attributes.spread(customers, name, min_group=params.naming.min_group).to_pyarrow().to_pylist()[0]
            reason = _reason_to_hide(kind, spread)
        if reason or spread is None:
            notes.append(f"customers: column {name!r} is not shown on the cards: {reason}")
            continue
        if kind == "number" and spread["value_count"] > MAX_SINGLE_NUMBERS:
            table = attributes.quantiles(customers, name, bands=params.cards.attribute_bands)
            # An exact bound would reveal the value of one customer, so it is rounded.
            rounded = {float(f"{value:.2g}") for value in table.to_pyarrow().to_pylist()[0].values()}
            bounds[name] = sorted(rounded)
        columns.append(name)
    return columns, bounds, tuple(notes)


def _reason_to_hide(kind: str, spread: Mapping[str, Any]) -> str:
    """Why a column must not be shown; empty if it may be."""
    if not spread["known_count"]:
        return "it is empty"
    is_number = kind == "number" and spread["value_count"] > MAX_SINGLE_NUMBERS
    if is_number and spread["is_whole"] and spread["value_count"] == spread["known_count"]:
        return "every customer has a different number in it, like an id"
    if not is_number and spread["shared_count"] < MIN_SHARED_VALUES * spread["known_count"]:
        return "too few customers share a value in it, as with names and addresses"
    return ""


def customers_in_audiences(source: Source, profiles: Profiles, params: Params) -> pd.DataFrame:
    """`models.audiences.audience_membership` of all customers."""
    columns = {name: column for column, name in enumerate(profiles.shop.spec.cut.categories) if name != OTHER}
    shares = profiles.table[[SHARE_PREFIX + name for name in columns]].set_axis(list(columns), axis=1)
    expected, all_rows = expected_shares_for_profiles(profiles, source, params), np.arange(len(shares))
    return audience_membership(
        shares,
        profiles.table.evidence,
        pd.DataFrame({name: expected.of(column, all_rows) for name, column in columns.items()}, index=shares.index),
        kappa=params.interests.kappa,
        min_lift=params.naming.min_lift,
        certainty=params.cards.certainty,
    )


def _visit_sums(profiles: Profiles, ids: np.ndarray, params: Params) -> pd.DataFrame:
    """Sums (see `compare_means`) of the shares of visits by time and channel."""
    empty = pd.DataFrame(columns=[*CELL, "known_count"])
    if profiles.visits is None:
        return empty
    settings = params.cards
    membership = ibis.memtable(pd.DataFrame({"customer_id": np.arange(len(ids)), "segment_id": ids}))
    sums, keys = occasions.visit_sums(
        profiles.visits,
        membership,
        window=ObservationWindow(params.as_of, params.history_days),
        timezone=params.local_timezone,
        channels=profiles.shop.spec.channels,
        occasions={name: occasion.days for name, occasion in settings.occasions.items()},
        margin_days=settings.season_margin_days,
    )
    wide = sums.to_pyarrow().to_pandas().sort_values("segment_id")
    figures = {"n": "known_count", "total": "total", "squares": "squares", "customers": "customer_count"}
    tables = [
        pd.DataFrame({"segment_id": wide.segment_id, **{name: wide[f"{key}{index}"] for key, name in figures.items()}})
        .assign(topic=topic, value=value) for index, (topic, value) in enumerate(keys)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else empty


def benefit_sums(profile: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Sums (see `compare_means`) of the figures that show what buyers look for.

    Brand loyalty and novelty depend on the number of orders: two orders share a brand more often than twenty do. Such
    figures are adjusted by the mean of buyers with a similar number of orders.
    """
    tables = []
    order_band = np.round(2.0 * np.log2(profile.order_count.fillna(0.0) + 1.0))
    for name in WHY:
        values = profile[name].astype("float64")
        if name in GROWS_WITH_ORDERS:
            values = values - values.groupby(order_band).transform("mean") + values.mean()
        by_segment = pd.DataFrame({"total": values, "squares": values**2, "known_count": values.notna()}).groupby(ids)
        sums = by_segment.sum().rename_axis("segment_id").reset_index()
        tables.append(sums.assign(topic=name, value="", customer_count=sums.known_count))
    return pd.concat(tables, ignore_index=True)
