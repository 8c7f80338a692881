"""`kindred explain CUSTOMER`: what was seen of one customer, what it counted for, and the segment it led to."""

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
from pipeline.config.segment_params import NamingParams
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Progress, build_profiles
from pipeline.profiles.prepare_events import own_weight
from pipeline.profiles.search_queries import query_meanings, query_table
from pipeline.profiles.seasonality import expected_of, season_mix_of
from pipeline.profiles.shop import load_shop
from pipeline.report.terminal import counted
from pipeline.scoring.score_table import profile_columns
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import TEMPORARY, connect

UNITS = 1_000_000
"""Evidence is shown in millionths of a signal of weight 1, so that what is shown adds up to what is shown."""
DAY_FORMAT = "%Y-%m-%d %H:%M"
SEGMENT_COLUMNS = ("segment", "is_stable", "strength", "evidence", "next_segment", "margin")
OTHERS, ALL = "all others", "all"
TOLD = {"temperature", "event_count", "session_count", "order_count", "return_count", "is_buyer_from_before"}
"""Columns of the profile that are told, beside those that scoring reads."""


@dataclass(frozen=True)
class Explanation:
    """One customer.

    Attributes
    ----------
    profile : Series
        The customer's row.
    predicted : Series
        Segment columns of the scores.
    evidence : DataFrame
        occurred_at, event_type, category, probability, units (whole millionths): a row per event and category.
    benefits : DataFrame
        category, item_count, discount_share, price_level: a row per category bought in.
    spec : ProfileSpec
    kappa, half_life_days : float
        Of the interest formula.
    expected : dict
        Of each category of the tree, those above the columns too: the share, and the evidence, of a customer who did as
        much at the same times, and turned to what the shop turned to (`models.seasons`).
    top_categories : list of str
        As in the scores.
    naming : NamingParams
        Of the model: what a top category must have.
    facets : list of Facet
        Of the model.
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
        counted = self.evidence.pivot_table(
            index="category", columns="event_type", values="units", aggfunc="sum", fill_value=0
        )
        counted["evidence"] = counted.sum(axis=1)
        counted = counted.sort_values(["evidence"], ascending=False, kind="stable")
        rest, total = (counted.sum() * 0).rename(OTHERS), counted.sum().rename(ALL)
        table = pd.concat([counted, rest.to_frame().T, total.to_frame().T]) if len(counted) else counted
        shown = table.map(_shown)
        expected = {name: share for name, (share, _) in self.expected.items()}
        shares = {name: self._share(name) for name in counted.index}
        all_shares = {**shares, OTHERS: max(1.0 - sum(shares.values()), 0.0), ALL: 1.0}
        shown["share"] = [f"{all_shares[name]:.2%}" for name in table.index]
        shown["expected"] = [f"{expected[name]:.2%}" if name in expected else "" for name in table.index]
        shown["lift"] = [f"{shares[name] / expected[name]:.2f}" if expected.get(name) else "" for name in table.index]
        if not len(counted):
            return "\n".join([*self._segment(), "", "Nothing this customer did says anything of a category."])
        return "\n".join([*self._segment(), "", *_aligned(shown), "", *self._top(), self._formula()])

    def _columns(self, category: str) -> list[str]:
        """Columns of the cut that a category of the tree sums up."""
        return [self.spec.cut.categories[column] for column in nodes_by_name(self.spec.cut)[category].columns]

    def _share(self, category: str) -> float:
        return sum(float(self.profile[SHARE_PREFIX + name]) for name in self._columns(category))

    def _top(self) -> list[str]:
        """The top categories of the scores, with what makes them so; an empty line after them."""
        rows = {}
        for name in self.top_categories:
            expected, usual = self.expected[name]
            own = float(self.evidence.units[self.evidence.category.isin(self._columns(name))].sum()) / UNITS
            share = self._share(name)
            figures = (f"{own:.2f}", f"{usual:.2f}", f"{own * np.log(own / usual):.2f}")
            rows[name] = (*figures, f"{share:.2%}", f"{expected:.2%}", f"{share / expected:.2f}")
        columns = ["evidence", "usual", "gain", "share", "expected", "lift"]
        shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("top categories")
        return [*_aligned(shown), ""] if rows else []

    def category_text(self, category: str) -> str:
        """Every event that counted for one category, and how the share came about."""
        rows = self.evidence[self.evidence.category.isin(self._columns(category))]
        rows = rows.sort_values(["occurred_at", "event_type"])
        shown = pd.DataFrame(
            {
                "when (UTC)": [*rows.occurred_at.dt.strftime(DAY_FORMAT), "all"],
                "what": [*rows.event_type, ""],
                "P(category)": [*(f"{value:.2f}" for value in rows.probability), ""],
                "counted": [*(_shown(units) for units in rows.units), _shown(int(rows.units.sum()))],
            }
        ).set_index("when (UTC)")
        share, (expected, _) = self._share(category), self.expected[category]
        return "\n".join(
            [
                *self._segment(),
                "",
                category,
                *_aligned(shown),
                "",
                "share  = share above * (evidence + kappa * shop) / (evidence above + kappa), from the top down;",
                "shop   is the part of what is above that all customers turn to",
                *self._steps(category),
                f"lift   {share / expected:.2f} compared with {expected:.6f}, the share of a customer who did as much "
                "at the same times, but turned to what all customers turned to then"
                if expected
                else "lift   none: new to the shop",
                *self._bought(category),
            ]
        )

    def _steps(self, category: str) -> list[str]:
        """How the share comes about, level by level: each line can be computed from the one before."""
        cut, mix = self.spec.cut, np.array(self.spec.cut.mix)
        counted = self.evidence.groupby("category").units.sum()
        own = np.array([counted.get(name, 0) for name in cut.categories]) / UNITS
        paths = [lowered_parts(name) for name in cut.categories]
        path, columns = lowered_parts(category), nodes_by_name(cut)[category].columns
        lines, share, above = [], 1.0, np.ones(len(paths), dtype=bool)
        for level in range(1, len(path) + 1):
            inside = np.array([one[:level] == path[:level] for one in paths])
            if level == cut.level:
                inside = np.isin(np.arange(len(paths)), columns)
            spread = mix[inside].sum() / mix[above].sum() if mix[above].sum() else 0.0
            computed = share * (own[inside].sum() + self.kappa * spread) / (own[above].sum() + self.kappa)
            name = SEPARATOR.join(category.split(SEPARATOR)[:level])
            lines.append(
                f"{computed:.6f} = {share:.6f} * ({own[inside].sum():.6f} + {self.kappa:g} * {spread:.6f}) / "
                f"({own[above].sum():.6f} + {self.kappa:g})    {name}"
            )
            share, above = computed, inside
        return lines

    def _bought(self, category: str) -> list[str]:
        """How it is bought, where enough was."""
        rows = self.benefits[self.benefits.category == category]
        if rows.empty:
            return []
        one = rows.iloc[0]
        told = f"bought {counted(one.item_count, 'item')}"
        if pd.notna(one.discount_share):
            told += f", {one.discount_share:.0%} of the purchases at a discount"
        if pd.notna(one.price_level):
            told += f", at {one.price_level:.2f} times what the category costs on average"
        return [told]

    def _segment(self) -> list[str]:
        lines = [line for facet in self.facets for line in self._facet(facet)]
        if len(self.facets) > 1:
            names = [self.predicted[facet_column("segment", facet.column_prefix)] for facet in self.facets]
            lines.insert(0, " · ".join(names))
        profile = self.profile
        return [
            *lines,
            f"Standing   {profile.lifecycle_stage}, {profile.temperature}; {self._orders()}; "
            f"{counted(profile.event_count, 'event')} in {counted(profile.session_count, 'visit')}",
        ]

    def _facet(self, facet: Facet) -> list[str]:
        """The segment in one facet, and the next one."""
        found = {name: self.predicted[facet_column(name, facet.column_prefix)] for name in SEGMENT_COLUMNS}
        unstable = "" if found["is_stable"] else "unstable, "
        evidence = f"{unstable}strength {found['strength']:.2f}, evidence {found['evidence']}"
        lines = [f"{facet.name.capitalize():<11}{found['segment']} ({evidence})"]
        if isinstance(found["next_segment"], str):
            lines.append(f"Runner-up  {found['next_segment']} (margin {found['margin']:.2f}; 0 is on the border)")
        return lines

    def _orders(self) -> str:
        """How many orders in the window, and when the last one was; who has none in it may have bought before."""
        profile, since = self.profile, self.profile.days_since_last_purchase
        if pd.notna(since):
            return f"{counted(profile.order_count, 'order')}, last order {since:.1f} days before"
        if profile.is_buyer_from_before:
            return f"no order in the last {counted(self.spec.history_days, 'day')}, but before"
        return "0 orders, bought before the log" if profile.return_count else "0 orders, never ordered"

    def _formula(self) -> str:
        return (
            f"Counted: weight of the signal, halved with every {self.half_life_days:g} days that it lies before the "
            f"customer's own last counted event. The shop's mix counts as much as {self.kappa:g} signals of weight 1. "
            "Lift is the share compared with the expected one: of a customer who did as much at the same times, but "
            "turned to what all customers turned to then. Top categories are summed up the tree, as in the scores, "
            f"from a lift of {self.naming.min_lift:g} and a share of {self.naming.min_interest_share:.0%} on "
            "(naming.min_lift, naming.min_interest_share of the model), the highest gain first: "
            "evidence * ln(evidence / usual), usual being the evidence of that other customer. Name a category with "
            "--category for its events, and how its share comes about."
        )


def explain(params: Params, *, customer: str, category: str | None, model_uri: str, progress: Progress) -> str:
    """Read one customer's events and tell what they counted for; of nobody else anything is told.

    Raises
    ------
    UserError
        The model or the source cannot be used, or there is no such customer or category.
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
                f"--category: expected one of the model's categories, or one above them. There are: {known}."
            )
        progress("reading and checking")
        source = read_source(con, params, rejected_path=None)
        as_trained = trained.model_copy(update={"as_of": params.as_of})
        columns = profile_columns(model, shop.spec) | TOLD
        profiles = build_profiles(
            con, source.of_customer(customer), as_trained, shop=shop, progress=progress, columns=columns
        )
        if profiles.table.empty:
            raise UserError(
                f"expected a customer known before as_of {params.as_of:{DAY_FORMAT}}, found no such customer. "
                "Give the id as it stands in the log, zeros in front and capitals as there; a customer with no event "
                "in the log, and no row among the customers, is not known."
            )
        window = ObservationWindow(params.as_of, shop.spec.history_days)
        mix = season_mix_of(source, shop.spec, as_trained, window)
        observed = con.table("observed_events", database=TEMPORARY)
        meanings, _ = query_meanings(observed, shop.queries, as_trained)
        said = event_evidence(observed, query_table(con, meanings), weight=own_weight(observed, as_trained))
        evidence = said.filter(said.weight > 0).to_pyarrow().to_pandas()
        transactions = con.table("transactions", database=TEMPORARY)
        bought = category_benefits(transactions, mean_prices=shop.spec.mean_prices).to_pyarrow().to_pandas()
        predicted = model_registry.renamed(model.predict(profiles.table), model_registry.given_names(mlflow, params))
    names = np.array(shop.spec.cut.categories, dtype=object)
    expected = expected_of(profiles.table, shop.spec, mix, kappa=as_trained.interests.kappa)
    top = top_categories(
        profiles.table,
        shop.spec,
        expected,
        most=as_trained.naming.top_categories,
        min_lift=as_trained.naming.min_lift,
        min_share=as_trained.naming.min_interest_share,
    )
    found = Explanation(
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
    return found.as_text() if category is None else found.category_text(category)


def _expected_by_name(expected: ExpectedShares, cut: CategoryCut) -> dict[str, tuple[float, float]]:
    """Expected share and evidence of the one customer, of each category of the tree."""
    one = np.zeros(1, np.int64)
    return {
        name: (
            float(expected.at(node.level, node.place, one)[0]),
            float(expected.evidence[node.level][node.place][0]),
        )
        for name, node in nodes_by_name(cut).items()
    }


def _units(weight: pd.Series) -> Ints:
    return np.asarray(np.rint(weight.to_numpy(np.float64) * UNITS), dtype=np.int64)


def _shown(units: int) -> str:
    return f"{units / UNITS:.6f}"


def _aligned(table: pd.DataFrame) -> list[str]:
    """Lines of a table of texts: the first column to the left, all others to the right."""
    rows = [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    lines = [[table.index.name or "", *table.columns], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
