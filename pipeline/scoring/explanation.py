"""What a customer's events counted for, and the segments they led to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from features.benefits import category_benefits
from features.categories import OTHER, SEPARATOR, CategoryCut, lowered_parts
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX, event_evidence
from features.profile import ProfileSpec
from models.scorer import Floats, Ints, facet_column
from models.seasons import ExpectedShares
from models.top_categories import nodes_by_name, top_categories
from models.tree import child_share, cut_levels
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.sections.segments import NamingParams
from pipeline.ingest.source import Source
from pipeline.profiles.build import build_profiles
from pipeline.profiles.prepare_events import own_weight
from pipeline.profiles.search_queries import query_meanings, query_table
from pipeline.profiles.seasonality import expected_shares_for_batch, full_season_mix
from pipeline.profiles.shop import Shop
from pipeline.scoring.score_table import profile_columns
from pipeline.scoring.trained_model import TrainedModel
from pipeline.stores.engines.engine import Engine

UNITS = 1_000
"""Evidence is rounded to thousandths of a signal of weight 1, so the printed numbers add up exactly."""
DAY_FORMAT = "%Y-%m-%d %H:%M"
SHOWN_IDS = 3
EXPLAINED_COLUMNS = {
    "temperature",
    "event_count",
    "session_count",
    "order_count",
    "net_spend",
    "return_count",
    "is_buyer_from_before",
}
"""Profile columns shown in addition to those that scoring reads."""


@dataclass(frozen=True)
class Expected:
    """Share and evidence of a customer equally active at the same times, with the shop's average interests."""

    share: float
    evidence: float


@dataclass(frozen=True)
class ShareStep:
    """One level of the interest formula: ``share`` of a category from ``parent_share``, that of the category above.

    Attributes
    ----------
    evidence, parent_evidence : float
        The customer's.
    shop_share : float
        The category's part of all customers' interest in its parent.
    """

    category: str
    share: float
    parent_share: float
    evidence: float
    parent_evidence: float
    shop_share: float


@dataclass(frozen=True)
class Explanation:
    """Everything that explains the segments of one customer.

    Attributes
    ----------
    profile : Series
        The customer's profile.
    predicted : Series
        Segment columns of the scores.
    rules : dict
        segment_id -> the segment as a readable rule; lacks segments without one.
    evidence : DataFrame
        occurred_at, event_type, category, probability, units (whole thousandths); one row per event and category.
    benefits : DataFrame
        category, item_count, discount_share, price_level; one row per category with purchases.
    spec : ProfileSpec
    kappa, half_life_days : float
        Parameters of the interest formula.
    expected : dict
        Category, or parent category -> `Expected` (`models.seasons`).
    top_categories : list of str
        The same as in the scores.
    naming : NamingParams
        Params of the model, with the limits for a top category.
    facets : list of Facet
        Facets of the model.
    as_of : datetime
    currency : str or None
    """

    profile: pd.Series
    predicted: pd.Series
    rules: Mapping[str, str]
    evidence: pd.DataFrame
    benefits: pd.DataFrame
    spec: ProfileSpec
    kappa: float
    half_life_days: float
    expected: dict[str, Expected]
    top_categories: list[str]
    naming: NamingParams
    facets: list[Facet]
    as_of: datetime
    currency: str | None

    @property
    def has_categories(self) -> bool:
        """Whether the log that the model was trained on has categories."""
        return any(name != OTHER for name in self.spec.cut.categories)

    @property
    def has_prices(self) -> bool:
        """Whether purchases in that log have prices."""
        return bool(self.spec.value_cuts.money)

    def rule(self, facet: Facet) -> str | None:
        """The customer's segment in a facet as a readable rule."""
        return self.rules.get(self.predicted[facet_column("segment_id", facet.column_prefix)])

    def share(self, category: str) -> float:
        """Share of the customer's interests in a category, or a parent category."""
        return sum(float(self.profile[SHARE_PREFIX + name]) for name in self._columns(category))

    def events_of(self, category: str) -> pd.DataFrame:
        """The rows of ``evidence`` that counted for a category, or a parent category."""
        return self.evidence[self.evidence.category.isin(self._columns(category))]

    def _columns(self, category: str) -> list[str]:
        """Columns of the cut that belong to a category of the tree."""
        return [self.spec.cut.categories[column] for column in nodes_by_name(self.spec.cut)[category].columns]

    def share_steps(self, category: str) -> list[ShareStep]:
        """How the share of a category is computed, from the top level down."""
        cut = self.spec.cut
        units = self.evidence.groupby("category").units.sum()
        own: Floats = np.array([[units.get(name, 0)] for name in cut.categories]) / UNITS
        column, depth = nodes_by_name(cut)[category].columns[0], len(lowered_parts(category))
        steps: list[ShareStep] = []
        share, above = np.ones(1), own.sum(axis=0)
        for number, level in enumerate(cut_levels(cut)[:depth], 1):
            node = level.node[column]
            evidence, shop_share = level.sums(own)[node], float(level.spread[node])
            computed = child_share(share, evidence, above, shop_share, self.kappa)
            name = SEPARATOR.join(category.split(SEPARATOR)[:number])
            step = ShareStep(
                category=name,
                share=float(computed[0]),
                parent_share=float(share[0]),
                evidence=float(evidence[0]),
                parent_evidence=float(above[0]),
                shop_share=shop_share,
            )
            steps.append(step)
            share, above = computed, evidence
        return steps


def require_category(shop: Shop, category: str) -> None:
    """Refuse a category that the model does not have.

    Raises
    ------
    UserError
        Lists the categories there are.
    """
    if category in nodes_by_name(shop.spec.cut):
        return
    known = ", ".join(name for name in shop.spec.cut.categories if name != OTHER)
    if not known:
        raise UserError("--category: the log that the model was trained on has no categories.")
    raise UserError(f"--category: expected a category of the model or a parent category. The categories are: {known}.")


def explain_customer(
    engine: Engine,
    source: Source,
    params: Params,
    trained: TrainedModel,
    customer: str,
    *,
    rules: Mapping[str, str],
    progress: Progress,
) -> Explanation:
    """Measure one customer, and score it as `kindred score` does.

    Raises
    ------
    UserError
        The customer is unknown; the message names other spellings of the id that the log has.
    """
    shop, as_trained = trained.shop, trained.params_at(params.as_of)
    columns = profile_columns(trained.model, shop.spec) | EXPLAINED_COLUMNS
    own = source.of_customer(customer)
    table = build_profiles(engine, own, as_trained, shop=shop, progress=progress, columns=columns, as_scored=True).table
    if table.empty:
        raise _unknown_customer(source, customer, params, is_excluded=_has_events(own, params))
    evidence, benefits = _counted_events(engine, shop, as_trained)
    mix = full_season_mix(source, shop.spec, as_trained, ObservationWindow(params.as_of, shop.spec.history_days))
    expected = expected_shares_for_batch(table, shop.spec, mix, kappa=as_trained.interests.kappa)
    naming = as_trained.naming
    top = top_categories(
        table,
        shop.spec,
        expected,
        max_count=naming.top_categories,
        min_lift=naming.min_lift,
        min_share=naming.min_interest_share,
    )
    return Explanation(
        profile=table.iloc[0],
        predicted=trained.model.predict(table).iloc[0],
        rules=rules,
        evidence=evidence,
        benefits=benefits,
        spec=shop.spec,
        kappa=as_trained.interests.kappa,
        half_life_days=as_trained.interests.half_life_days,
        expected=_expected_by_name(expected, shop.spec.cut),
        top_categories=top[0].as_py(),
        naming=naming,
        facets=trained.facets,
        as_of=params.as_of,
        currency=params.currency,
    )


def _has_events(own: Source, params: Params) -> bool:
    return bool(ObservationWindow(params.as_of, params.history_days).of(own.events).count().to_pyarrow().as_py())


def _unknown_customer(source: Source, customer: str, params: Params, *, is_excluded: bool) -> UserError:
    if is_excluded:
        return UserError(
            "expected a customer with scores; this one is left out, being far beyond all others (outliers.action: "
            "exclude in the model's params). `kindred check` lists such customers."
        )
    spellings = _spellings(source, customer)
    return UserError(
        f"expected a customer known before as_of {params.as_of:{DAY_FORMAT}}, found none with this id. "
        + (f"Did you mean {' or '.join(spellings)}? " if spellings else "")
        + "Give the id exactly as in the log, including leading zeros and capital letters. Customers with no "
        "events and no row in the customers table are unknown."
    )


def _counted_events(engine: Engine, shop: Shop, as_trained: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``evidence`` and ``benefits`` of an `Explanation`, from the events of the profile that was just built."""
    observed = engine.table("observed_events")
    meanings, _ = query_meanings(observed, shop.queries, as_trained)
    weighted = event_evidence(observed, query_table(engine, meanings), weight=own_weight(observed, as_trained))
    evidence = weighted.filter(weighted.weight > 0).to_pyarrow().to_pandas()
    transactions = engine.table("transactions")
    bought = category_benefits(transactions, mean_prices=shop.spec.mean_prices).to_pyarrow().to_pandas()
    names = np.array(shop.spec.cut.categories, dtype=object)
    return (
        evidence.assign(category=names[evidence.column.to_numpy(np.int64)], units=_units(evidence.weight)),
        bought.assign(category=names[bought.column.to_numpy(np.int64)]),
    )


def _units(weight: pd.Series) -> Ints:
    return np.asarray(np.rint(weight.to_numpy(np.float64) * UNITS), dtype=np.int64)


def _expected_by_name(expected: ExpectedShares, cut: CategoryCut) -> dict[str, Expected]:
    first_row = np.zeros(1, np.int64)
    return {
        name: Expected(
            share=float(expected.at(node.level, node.index, first_row)[0]),
            evidence=float(expected.evidence[node.level][node.index][0]),
        )
        for name, node in nodes_by_name(cut).items()
    }


def _spellings(source: Source, customer: str) -> list[str]:
    """Ids in the log that are the given one but for a final .0, leading zeros, spaces or case.

    No other ids: a message must not show those of customers whom nobody asked for.
    """
    ids = source.events.select("customer_id")
    if source.customers is not None:
        ids = ids.union(source.customers.select("customer_id"))
    ids = ids.filter(ids.customer_id.notnull()).distinct()
    plain = ids.customer_id.strip().lower().re_replace(r"\.0+$", "").re_replace("^0+", "")
    wanted = re.sub("^0+", "", re.sub(r"\.0+$", "", customer.strip().lower()))
    same = ids.filter(plain == wanted).order_by("customer_id").limit(SHOWN_IDS)
    return list(same.to_pyarrow()["customer_id"].to_pylist())
