"""The 5W card of each segment: who, what, why, when, where; each line with the shop's figure, none that is not sure."""

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
from models.audiences import audience_counts, audiences, drawn_to
from models.identity import STANDING
from models.naming import category_in_languages
from models.significance import CELL, compare_counts, compare_means, shown_counts
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.profiles.seasonality import expected_in
from pipeline.segmentation.describe import Segments

ATTRIBUTE = "attribute: "
"""What a topic begins with that is a column of the customers' table, so that it is not taken for another topic."""
QUESTIONS = ("who", "what", "why", "when", "where")
WHY = ("discount_share", "price_level", "brand_loyalty", "novelty_share", "views_per_order")
GROWS_WITH_ORDERS = ("brand_loyalty", "novelty_share")
PLACE_OF = {"occasion": "why", "channel": "where", "category": "what", "categories": "what"}
"""Topic -> question; other visits are told under when, and attributes under who or, of a place, where."""
SHARED_BY = 0.5
"""A column is told whose values are so widely shared: at least so many of its customers have one in common with
``min_group`` others or more."""
FEW_NUMBERS = 10
"""So many different numbers, or fewer, are told one by one."""


@dataclass(frozen=True)
class Cards:
    """What all cards say.

    Attributes
    ----------
    five_w : dict
        segment_id -> question of `QUESTIONS` -> lines, the most telling first. A line: topic, is_attribute, value,
        figure, shop, lift, q_value, customer_count, and names (per language) where there are.
    audiences : list of dict
        category, customer_count, customer_share; of all customers who were clustered.
    attributes : dict or None
        columns of the customers' table that were looked at; customer_count: of how many the best known of them is
        known; is_told: whether any card says one. None without any.
    notes : tuple of str
        Columns of customers that are left out, and why.
    """

    five_w: dict[str, dict[str, list[dict[str, Any]]]]
    audiences: list[dict[str, Any]]
    attributes: dict[str, Any] | None
    notes: tuple[str, ...]


def with_cards(
    source: Source, profiles: Profiles, facets: Sequence[Segments], params: Params
) -> tuple[list[Segments], Cards]:
    """Segments of all facets, whose rows have their card as ``five_w``; needs the open database.

    Audiences and attributes are those of the first facet.
    """
    drawn = _drawn(source, profiles, params)
    all_cards = [build_cards(source, profiles, segments, drawn, params) for segments in facets]
    found = [
        replace(segments, table=[{**one, "five_w": cards.five_w[one["segment_id"]]} for one in segments.table])
        for segments, cards in zip(facets, all_cards, strict=True)
    ]
    return found, all_cards[0]


def build_cards(source: Source, profiles: Profiles, segments: Segments, drawn: pd.DataFrame, params: Params) -> Cards:
    """The cards of all segments: those found compared with one another, and those by rule.

    Parameters
    ----------
    drawn : DataFrame
        `models.audiences.drawn_to` of all customers.
    """
    ids = segments.segment_ids
    counts, known, notes = _attribute_counts(source, profiles, ids, params)
    sizes = pd.Series(ids).value_counts().rename_axis("segment_id").rename("known_count").reset_index()
    size_of = sizes.set_index("segment_id").known_count
    interests = audience_counts(drawn, ids)
    interests_known = sizes.merge(pd.DataFrame({"topic": ["category", "categories"]}), how="cross")
    visits, benefits = _visit_sums(profiles, ids, params), _benefit_sums(profiles.table, ids)
    five_w: dict[str, dict[str, list[dict[str, Any]]]] = {
        one["segment_id"]: {question: [] for question in QUESTIONS} for one in segments.table
    }
    names, seasonal = _names(segments, params), _in_season(segments)
    for part in (True, False):
        here = [one["segment_id"] for one in segments.table if one["is_standing"] is part]

        def of_part(table: pd.DataFrame, here: list[str] = here) -> pd.DataFrame:
            return table[table.segment_id.isin(here)].assign(segment_size=table.segment_id.map(size_of))

        for lines in (
            _told_counts(counts[counts.segment_id.isin(here)], of_part(known), params),
            _told_counts(interests[interests.segment_id.isin(here)], of_part(interests_known), params, seasonal),
            _told_means(of_part(visits), params, two_sided=False),
            _told_means(of_part(benefits), params, two_sided=True),
        ):
            _place(five_w, lines, names, params)
    inside = ~pd.Series(ids).str.startswith(STANDING).to_numpy()
    told = drawn[inside] if inside.any() else drawn
    labels = segments.labels
    of_shop = [
        {**one, "label": labels.get(str(one["category"]), one["category"])}
        for one in audiences(told, min_group=params.naming.min_group)
    ]
    return Cards(five_w, of_shop, _looked_at(known, five_w), notes)


def _told_counts(
    counts: pd.DataFrame, known: pd.DataFrame, params: Params, may_tell: set[tuple[str, str]] | None = None
) -> pd.DataFrame:
    if counts.empty:
        return pd.DataFrame()
    cells, settings = compare_counts(counts, known=known, min_group=params.naming.min_group), params.cards
    is_told = (cells.q_value <= settings.false_discovery_rate) & (cells.lift >= settings.min_lift)
    is_told &= _is_known_of_enough(cells, params)
    if may_tell is not None:
        pairs = zip(cells.segment_id, cells.value, strict=True)
        is_told &= (cells.topic != "category") | np.array([pair in may_tell for pair in pairs], dtype=bool)
    return shown_counts(cells, min_group=params.naming.min_group, is_told=is_told)


def _told_means(sums: pd.DataFrame, params: Params, *, two_sided: bool) -> pd.DataFrame:
    if sums.empty:
        return pd.DataFrame()
    cells, settings = compare_means(sums), params.cards
    more, less = cells.lift >= settings.min_lift, cells.lift <= 1.0 / settings.min_lift
    is_large = (cells.customer_count >= params.naming.min_group) & _is_known_of_enough(cells, params)
    return cells[(cells.q_value <= settings.false_discovery_rate) & (more | (two_sided & less)) & is_large]


def _is_known_of_enough(cells: pd.DataFrame, params: Params) -> pd.Series:
    """Cells that speak for the segment: what sixteen of a thousand bought is not why the thousand come."""
    return cells.known_count >= params.cards.min_known_share * cells.segment_size


def _in_season(segments: Segments) -> set[tuple[str, str]]:
    """(segment_id, category) of which more is sure beside the same times: a Christmas rush is no interest."""
    lifts = segments.lifts
    row, column = np.nonzero(lifts.to_numpy(np.float64) > 1.0)
    return set(zip(lifts.index[row], lifts.columns[column], strict=True))


def _names(segments: Segments, params: Params) -> dict[str, dict[str, str]]:
    """What occasions and categories are called, per language."""
    categories = {name: category_in_languages(label) for name, label in segments.labels.items()}
    return categories | {name: one.name.model_dump() for name, one in params.cards.occasions.items()}


def _place(
    five_w: dict[str, dict[str, list[dict[str, Any]]]],
    lines: pd.DataFrame,
    names: Mapping[str, dict[str, str]],
    params: Params,
) -> None:
    """Put lines under their questions, the greatest departure from the shop first, of each topic the first few."""
    if lines.empty:
        return
    lines = lines.assign(far=np.abs(np.log(lines.lift.clip(lower=1e-9)))).sort_values(
        ["far", *CELL], ascending=[False, True, True, True]
    )
    lines = lines.groupby(["segment_id", "topic"], sort=False).head(params.cards.most_lines)
    for line in lines.to_dict("records"):
        topic, value = line["topic"], line["value"]
        told = {
            "topic": topic.removeprefix(ATTRIBUTE),
            "is_attribute": topic.startswith(ATTRIBUTE),
            "value": value,
            **{name: float(line[name]) for name in ("figure", "shop", "lift", "q_value")},
            "customer_count": int(line["customer_count"]),
        }
        if topic in ("occasion", "category"):
            told["names"] = names[value]
        five_w[line["segment_id"]][_question(topic, params)].append(told)


def _question(topic: str, params: Params) -> str:
    if topic.startswith(ATTRIBUTE):
        places = [place.lower() for place in params.cards.place_columns]
        return "where" if topic.removeprefix(ATTRIBUTE).lower() in places else "who"
    return PLACE_OF.get(topic, "why" if topic in WHY else "when")


def _attribute_counts(
    source: Source, profiles: Profiles, ids: np.ndarray, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Counts and known counts (see `compare_counts`) of the columns that may be told, and what was left out."""
    nothing = pd.DataFrame(columns=[*CELL, "customer_count", "known_count"])
    if source.customers is None:
        return nothing, nothing, ()
    customers = source.customers
    columns, bounds, notes = _told_columns(customers, params)
    if not columns:
        return nothing, nothing, notes
    membership = ibis.memtable(pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": ids}))
    counts = attributes.value_counts(customers, membership, columns, bounds).to_pyarrow().to_pandas()
    counts["topic"] = ATTRIBUTE + counts.topic
    known = counts.groupby(["topic", "segment_id"]).customer_count.sum().rename("known_count").reset_index()
    of_value = counts.groupby(["topic", "value"]).customer_count.transform("sum")
    return counts[of_value >= params.naming.min_group].sort_values(CELL), known, notes


def _looked_at(known: pd.DataFrame, five_w: Mapping[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any] | None:
    """`Cards.attributes`."""
    if known.empty:
        return None
    by_column = known.groupby("topic").known_count.sum()
    lines = (line for card in five_w.values() for told in card.values() for line in told)
    return {
        "columns": [topic.removeprefix(ATTRIBUTE) for topic in by_column.index],
        "customer_count": int(by_column.max()),
        "is_told": any(line["is_attribute"] for line in lines),
    }


def _told_columns(customers: ir.Table, params: Params) -> tuple[list[str], dict[str, list[float]], tuple[str, ...]]:
    """Columns that may be told, the bounds of those in bands, and a line on each that is left out."""
    columns: list[str] = []
    bounds: dict[str, list[float]] = {}
    notes: list[str] = []
    for name, kind in sorted(attributes.column_kinds(customers).items()):
        found, reason = None, ""
        if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in params.cards.left_out):
            reason = "cards.left_out names it"
        elif kind == "other":
            reason = "it holds neither texts nor numbers"
        else:
            found = attributes.spread(customers, name, min_group=params.naming.min_group).to_pyarrow().to_pylist()[0]
            reason = _too_fine(kind, found)
        if reason or found is None:
            notes.append(f"customers: column {name!r} is not told on the cards: {reason}")
            continue
        if kind == "number" and found["value_count"] > FEW_NUMBERS:
            table = attributes.quantiles(customers, name, bands=params.cards.attribute_bands)
            # A bound is what one customer has; rounded, it is nobody's.
            rounded = {float(f"{value:.2g}") for value in table.to_pyarrow().to_pylist()[0].values()}
            bounds[name] = sorted(rounded)
        columns.append(name)
    return columns, bounds, tuple(notes)


def _too_fine(kind: str, found: Mapping[str, Any]) -> str:
    """Why a column is left out; nothing of one that may be told."""
    if not found["known_count"]:
        return "it is empty"
    is_number = kind == "number" and found["value_count"] > FEW_NUMBERS
    if is_number and found["is_whole"] and found["value_count"] == found["known_count"]:
        return "no two customers share a number in it, as with numbers that identify"
    if not is_number and found["shared_count"] < SHARED_BY * found["known_count"]:
        return "too few customers share a value in it, as with names and addresses"
    return ""


def _drawn(source: Source, profiles: Profiles, params: Params) -> pd.DataFrame:
    columns = {name: column for column, name in enumerate(profiles.shop.spec.cut.categories) if name != OTHER}
    shares = profiles.table[[SHARE_PREFIX + name for name in columns]].set_axis(list(columns), axis=1)
    expected, everybody = expected_in(profiles, source, params), np.arange(len(shares))
    return drawn_to(
        shares,
        profiles.table.evidence,
        pd.DataFrame({name: expected.of(column, everybody) for name, column in columns.items()}, index=shares.index),
        kappa=params.interests.kappa,
        min_lift=params.naming.min_lift,
        certainty=params.cards.certainty,
    )


def _visit_sums(profiles: Profiles, ids: np.ndarray, params: Params) -> pd.DataFrame:
    """Sums (see `compare_means`) of the shares of visits by time and channel."""
    nothing = pd.DataFrame(columns=[*CELL, "known_count"])
    if profiles.visits is None:
        return nothing
    settings = params.cards
    membership = ibis.memtable(pd.DataFrame({"customer_id": np.arange(len(ids)), "segment_id": ids}))
    sums, keys = occasions.visit_sums(
        profiles.visits,
        membership,
        window=ObservationWindow(params.as_of, params.history_days),
        timezone=params.local_timezone,
        channels=profiles.shop.spec.channels,
        occasions={name: one.days for name, one in settings.occasions.items()},
        margin_days=settings.season_margin_days,
    )
    wide = sums.to_pyarrow().to_pandas().sort_values("segment_id")
    figures = {"n": "known_count", "total": "total", "squares": "squares", "customers": "customer_count"}
    tables = [
        pd.DataFrame({"segment_id": wide.segment_id, **{name: wide[f"{key}{place}"] for key, name in figures.items()}})
        .assign(topic=topic, value=value) for place, (topic, value) in enumerate(keys)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else nothing


def _benefit_sums(profile: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Sums (see `compare_means`) of what buyers look for.

    Two orders are of one brand more easily than twenty, and less often of something known: such figures are told as if
    all ordered as often, by what is usual among buyers with about as many orders.
    """
    tables = []
    alike = np.round(2.0 * np.log2(profile.order_count.fillna(0.0) + 1.0))
    for name in WHY:
        values = profile[name].astype("float64")
        if name in GROWS_WITH_ORDERS:
            values = values - values.groupby(alike).transform("mean") + values.mean()
        by_segment = pd.DataFrame({"total": values, "squares": values**2, "known_count": values.notna()}).groupby(ids)
        sums = by_segment.sum().rename_axis("segment_id").reset_index()
        tables.append(sums.assign(topic=name, value="", customer_count=sums.known_count))
    return pd.concat(tables, ignore_index=True)
