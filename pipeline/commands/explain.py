"""`kindred explain CUSTOMER`: shows the events of one customer, what each counted for, and the resulting segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.benefits import category_benefits
from features.categories import OTHER, SEPARATOR, CategoryCut, lowered_parts
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX, event_evidence
from features.profile import ProfileSpec
from models.scorer import Ints, facet_column
from models.seasons import ExpectedShares
from models.top_categories import nodes_by_name, top_categories
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.segment_params import NamingParams
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.profiles.prepare_events import own_weight
from pipeline.profiles.search_queries import query_meanings, query_table
from pipeline.profiles.seasonality import expected_shares_for_batch, full_season_mix
from pipeline.profiles.shop import load_shop
from pipeline.report.terminal import align_columns, counted
from pipeline.scoring.score_table import profile_columns
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import TEMPORARY, connect

UNITS = 1_000_000
"""Evidence is rounded to millionths of a signal of weight 1, so the printed numbers add up exactly."""
DAY_FORMAT = "%Y-%m-%d %H:%M"
SEGMENT_COLUMNS = ("segment", "is_stable", "strength", "evidence", "next_segment", "margin")
OTHERS, ALL = "all others", "all"
EXPLAINED_COLUMNS = {
    "temperature",
    "event_count",
    "session_count",
    "order_count",
    "return_count",
    "is_buyer_from_before",
}
"""Profile columns shown in addition to those that scoring reads."""


@dataclass(frozen=True)
class Explanation:
    """Everything that explains the segment of one customer.

    Attributes
    ----------
    profile : Series
        The customer's profile.
    predicted : Series
        Segment columns of the scores.
    evidence : DataFrame
        occurred_at, event_type, category, probability, units (whole millionths); one row per event and category.
    benefits : DataFrame
        category, item_count, discount_share, price_level; one row per category with purchases.
    spec : ProfileSpec
    kappa, half_life_days : float
        Parameters of the interest formula.
    expected : dict
        Category -> (share, evidence) of a customer equally active at the same times, with the shop's average
        interests (`models.seasons`). Includes the parent categories of the columns.
    top_categories : list of str
        The same as in the scores.
    naming : NamingParams
        Params of the model, with the limits for a top category.
    facets : list of Facet
        Facets of the model.
    """

    profile: pd.Series
    predicted: pd.Series
    evidence: pd.DataFrame
    benefits: pd.DataFrame
    spec: ProfileSpec
    kappa: float
    half_life_days: float
    expected: dict[str, tuple[float, float]]
    top_categories: list[str]
    naming: NamingParams
    facets: list[Facet]

    def as_text(self) -> str:
        """The segment, and a table of categories whose rows and columns add up."""
        units = self.evidence.pivot_table(
            index="category", columns="event_type", values="units", aggfunc="sum", fill_value=0
        )
        units["evidence"] = units.sum(axis=1)
        units = units.sort_values(["evidence"], ascending=False, kind="stable")
        others, total = (units.sum() * 0).rename(OTHERS), units.sum().rename(ALL)
        table = pd.concat([units, others.to_frame().T, total.to_frame().T]) if len(units) else units
        shown = table.map(_format_units)
        expected = {name: share for name, (share, _) in self.expected.items()}
        shares = {name: self._share(name) for name in units.index}
        all_shares = {**shares, OTHERS: max(1.0 - sum(shares.values()), 0.0), ALL: 1.0}
        shown["share"] = [f"{all_shares[name]:.2%}" for name in table.index]
        shown["expected"] = [f"{expected[name]:.2%}" if name in expected else "" for name in table.index]
        shown["lift"] = [f"{shares[name] / expected[name]:.2f}" if expected.get(name) else "" for name in table.index]
        if not len(units):
            return "\n".join([*self._segment(), "", "None of this customer's events point to a category."])
        return "\n".join([*self._segment(), "", *_table(shown), "", *self._top_categories_table(), self._formula()])

    def _columns(self, category: str) -> list[str]:
        """Columns of the cut that belong to a category of the tree."""
        return [self.spec.cut.categories[column] for column in nodes_by_name(self.spec.cut)[category].columns]

    def _share(self, category: str) -> float:
        return sum(float(self.profile[SHARE_PREFIX + name]) for name in self._columns(category))

    def _top_categories_table(self) -> list[str]:
        """The top categories of the scores with their figures, and an empty line."""
        rows = {}
        for name in self.top_categories:
            expected, usual = self.expected[name]
            own = float(self.evidence.units[self.evidence.category.isin(self._columns(name))].sum()) / UNITS
            share = self._share(name)
            figures = (f"{own:.2f}", f"{usual:.2f}", f"{own * np.log(own / usual):.2f}")
            rows[name] = (*figures, f"{share:.2%}", f"{expected:.2%}", f"{share / expected:.2f}")
        columns = ["evidence", "usual", "gain", "share", "expected", "lift"]
        shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("top categories")
        return [*_table(shown), ""] if rows else []

    def category_text(self, category: str) -> str:
        """Every event that counted for one category, and how its share is computed."""
        rows = self.evidence[self.evidence.category.isin(self._columns(category))]
        rows = rows.sort_values(["occurred_at", "event_type"])
        shown = pd.DataFrame(
            {
                "when (UTC)": [*rows.occurred_at.dt.strftime(DAY_FORMAT), "all"],
                "event": [*rows.event_type, ""],
                "P(category)": [*(f"{value:.2f}" for value in rows.probability), ""],
                "evidence": [*(_format_units(units) for units in rows.units), _format_units(int(rows.units.sum()))],
            }
        ).set_index("when (UTC)")
        share, (expected, _) = self._share(category), self.expected[category]
        return "\n".join(
            [
                *self._segment(),
                "",
                category,
                *_table(shown),
                "",
                "share  = parent share * (evidence + kappa * shop share) / (parent evidence + kappa), top level first",
                "shop share: the category's part of all customers' interest in its parent",
                *self._share_steps(category),
                f"lift   {share / expected:.2f} = share / {expected:.6f}, the expected share of a customer equally "
                "active at the same times, with average interests"
                if expected
                else "lift   none: the category is new to the shop",
                *self._buying_habits(category),
            ]
        )

    def _share_steps(self, category: str) -> list[str]:
        """How the share is computed, level by level; each line follows from the one before."""
        cut, mix = self.spec.cut, np.array(self.spec.cut.mix)
        units = self.evidence.groupby("category").units.sum()
        own = np.array([units.get(name, 0) for name in cut.categories]) / UNITS
        paths = [lowered_parts(name) for name in cut.categories]
        path, columns = lowered_parts(category), nodes_by_name(cut)[category].columns
        lines, share, parent = [], 1.0, np.ones(len(paths), dtype=bool)
        for level in range(1, len(path) + 1):
            inside = np.array([column_path[:level] == path[:level] for column_path in paths])
            if level == cut.level:
                inside = np.isin(np.arange(len(paths)), columns)
            shop_share = mix[inside].sum() / mix[parent].sum() if mix[parent].sum() else 0.0
            computed = share * (own[inside].sum() + self.kappa * shop_share) / (own[parent].sum() + self.kappa)
            name = SEPARATOR.join(category.split(SEPARATOR)[:level])
            lines.append(
                f"{computed:.6f} = {share:.6f} * ({own[inside].sum():.6f} + {self.kappa:g} * {shop_share:.6f}) / "
                f"({own[parent].sum():.6f} + {self.kappa:g})    {name}"
            )
            share, parent = computed, inside
        return lines

    def _buying_habits(self, category: str) -> list[str]:
        """How the customer buys in a category; empty if too little was bought."""
        rows = self.benefits[self.benefits.category == category]
        if rows.empty:
            return []
        row = rows.iloc[0]
        text = f"bought {counted(row.item_count, 'item')}"
        if pd.notna(row.discount_share):
            text += f", {row.discount_share:.0%} of the purchases at a discount"
        if pd.notna(row.price_level):
            text += f", at {row.price_level:.2f} times the category's average price"
        return [text]

    def _segment(self) -> list[str]:
        lines = [line for facet in self.facets for line in self._facet(facet)]
        if len(self.facets) > 1:
            names = [self.predicted[facet_column("segment", facet.column_prefix)] for facet in self.facets]
            lines.insert(0, " · ".join(names))
        profile = self.profile
        return [
            *lines,
            f"Lifecycle  {profile.lifecycle_stage}, {profile.temperature}; {self._orders()}; "
            f"{counted(profile.event_count, 'event')} in {counted(profile.session_count, 'visit')}",
        ]

    def _facet(self, facet: Facet) -> list[str]:
        """The segment in one facet, and the runner-up."""
        scores = {name: self.predicted[facet_column(name, facet.column_prefix)] for name in SEGMENT_COLUMNS}
        unstable = "" if scores["is_stable"] else "unstable, "
        evidence = f"{unstable}strength {scores['strength']:.2f}, evidence {scores['evidence']}"
        lines = [f"{facet.name.capitalize():<11}{scores['segment']} ({evidence})"]
        if isinstance(scores["next_segment"], str):
            lines.append(f"Runner-up  {scores['next_segment']} (margin {scores['margin']:.2f}; 0 is on the border)")
        return lines

    def _orders(self) -> str:
        """How many orders in the window, and when the last one was; there may be earlier ones."""
        profile, since = self.profile, self.profile.days_since_last_purchase
        if pd.notna(since):
            return f"{counted(profile.order_count, 'order')}, last order {since:.1f} days before as_of"
        if profile.is_buyer_from_before:
            return f"no orders in the last {counted(self.spec.history_days, 'day')}, but earlier ones"
        return "0 orders, bought before the log starts" if profile.return_count else "0 orders, has never ordered"

    def _formula(self) -> str:
        return (
            f"Evidence is the weight of each event, halved for every {self.half_life_days:g} days before the last "
            f"counted event of the customer. The shop's average interests count as much as {self.kappa:g} events of "
            "weight 1. Lift is the share divided by the expected share, which is that of a customer equally active at "
            "the same times, with the average interests of those times. Top categories include parent categories, as "
            f"in the scores. They have a lift of at least {self.naming.min_lift:g} and a share of at least "
            f"{self.naming.min_interest_share:.0%} (naming.min_lift, naming.min_interest_share of the model), and are "
            "sorted by gain = evidence * ln(evidence / usual), where usual is the evidence of that average customer. "
            "Use --category to list the events of one category and see how its share is computed."
        )


def explain(params: Params, *, customer: str, category: str | None, model_uri: str, progress: Progress) -> str:
    """Read one customer's events and show what they counted for. Nothing is shown about other customers.

    Raises
    ------
    UserError
        The model or the source cannot be used, or the customer or category does not exist.
    """
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        mlflow = mlflow_runs.open_store(params)
        model = model_registry.load_model(mlflow, model_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        if category is not None and category not in nodes_by_name(shop.spec.cut):
            known = ", ".join(name for name in shop.spec.cut.categories if name != OTHER)
            if not known:
                raise UserError("--category: the log that the model was trained on has no categories.")
            raise UserError(
                f"--category: expected a category of the model or a parent category. The categories are: {known}."
            )
        progress("reading and checking")
        source = read_source(con, params, rejected_path=None)
        as_trained = trained.model_copy(update={"as_of": params.as_of})
        columns = profile_columns(model, shop.spec) | EXPLAINED_COLUMNS
        profiles = build_profiles(
            con, source.of_customer(customer), as_trained, shop=shop, progress=progress, columns=columns
        )
        if profiles.table.empty:
            raise UserError(
                f"expected a customer known before as_of {params.as_of:{DAY_FORMAT}}, found none with this id. "
                "Give the id exactly as in the log, including leading zeros and capital letters. Customers with no "
                "events and no row in the customers table are unknown."
            )
        window = ObservationWindow(params.as_of, shop.spec.history_days)
        mix = full_season_mix(source, shop.spec, as_trained, window)
        observed = con.table("observed_events", database=TEMPORARY)
        meanings, _ = query_meanings(observed, shop.queries, as_trained)
        weighted = event_evidence(observed, query_table(con, meanings), weight=own_weight(observed, as_trained))
        evidence = weighted.filter(weighted.weight > 0).to_pyarrow().to_pandas()
        transactions = con.table("transactions", database=TEMPORARY)
        bought = category_benefits(transactions, mean_prices=shop.spec.mean_prices).to_pyarrow().to_pandas()
        predicted = model_registry.with_given_names(
            model.predict(profiles.table), model_registry.given_names(mlflow, params)
        )
    names = np.array(shop.spec.cut.categories, dtype=object)
    expected = expected_shares_for_batch(profiles.table, shop.spec, mix, kappa=as_trained.interests.kappa)
    top = top_categories(
        profiles.table,
        shop.spec,
        expected,
        max_count=as_trained.naming.top_categories,
        min_lift=as_trained.naming.min_lift,
        min_share=as_trained.naming.min_interest_share,
    )
    explanation = Explanation(
        profile=profiles.table.iloc[0],
        predicted=predicted.iloc[0],
        evidence=evidence.assign(
            category=names[evidence.column.to_numpy(np.int64)],
            units=_units(evidence.weight),
        ),
        benefits=bought.assign(category=names[bought.column.to_numpy(np.int64)]),
        spec=shop.spec,
        kappa=as_trained.interests.kappa,
        half_life_days=as_trained.interests.half_life_days,
        top_categories=top[0].as_py(),
        naming=as_trained.naming,
        facets=facets_of(as_trained),
        expected=_expected_by_name(expected, shop.spec.cut),
    )
    return explanation.as_text() if category is None else explanation.category_text(category)


def _expected_by_name(expected: ExpectedShares, cut: CategoryCut) -> dict[str, tuple[float, float]]:
    """Category of the tree -> expected share and evidence of the customer."""
    first_row = np.zeros(1, np.int64)
    return {
        name: (
            float(expected.at(node.level, node.index, first_row)[0]),
            float(expected.evidence[node.level][node.index][0]),
        )
        for name, node in nodes_by_name(cut).items()
    }


def _units(weight: pd.Series) -> Ints:
    return np.asarray(np.rint(weight.to_numpy(np.float64) * UNITS), dtype=np.int64)


def _format_units(units: int) -> str:
    return f"{units / UNITS:.6f}"


def _table(table: pd.DataFrame) -> list[str]:
    """Lines of a table. The index is not folded, as its names are copied for --category; all else are figures."""
    rows = [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    head = [str(table.index.name or ""), *table.columns]
    return align_columns([head, *rows], right=range(1, len(head)), whole={0})
