"""`kindred explain CUSTOMER`: shows the events of one customer, what each counted for, and the resulting segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from models.scorer import facet_column
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.customers.identities import resolve_ids
from pipeline.ingest.source import read_source
from pipeline.report.terminal import align_columns, counted
from pipeline.scoring.explanation import DAY_FORMAT, UNITS, Explanation, explain_customer, require_category
from pipeline.scoring.score_table import with_given_names
from pipeline.scoring.trained_model import open_model, segments_at_training
from pipeline.stores import model_registry
from pipeline.stores.workspace import workspace

SEGMENT_COLUMNS = ("segment", "is_stable", "strength", "evidence", "next_segment", "margin")
OTHERS, ALL = "all others", "all"


def explain(params: Params, *, customer: str, category: str | None, model_uri: str, progress: Progress) -> str:
    """Read one customer's events and show what they counted for. Nothing is shown about other customers.

    Raises
    ------
    UserError
        The model or the source cannot be used, or the customer or category does not exist. Of a customer who does not
        exist, similar ids are named.
    """
    with workspace(params) as session:
        trained = open_model(session, model_uri)
        if category is not None:
            require_category(trained.shop, category)
        progress("reading and checking")
        source = read_source(session.con, params, rejected_path=None)
        customer = resolve_ids(session.con, params, [customer]).get(customer, customer)
        rules = {key: segment.rule for key, segment in segments_at_training(session, trained).items() if segment.rule}
        explanation = explain_customer(
            session.engine, source, params, trained, customer, rules=rules, progress=progress
        )
        given = model_registry.given_names(session.store)
    predicted = with_given_names(explanation.predicted.to_frame().T, given, trained.model.segment_names).iloc[0]
    explanation = replace(explanation, predicted=predicted)
    if category is not None:
        return category_text(explanation, category)
    return overview_text(explanation, has_products=source.summary.has_products)


def overview_text(explanation: Explanation, *, has_products: bool = True) -> str:
    """The segments, and a table of categories whose rows and columns add up; nothing of the latter without products."""
    if not has_products:
        return "\n".join(_segments(explanation))
    if not explanation.has_categories:
        missing = "The log that the model was trained on has no categories, so there are no interests to show."
        return "\n".join([*_segments(explanation), "", missing])
    if explanation.evidence.empty:
        return "\n".join([*_segments(explanation), "", "None of this customer's events point to a category."])
    table = _categories_table(explanation)
    return "\n".join(
        [*_segments(explanation), "", *table, "", *_top_categories_table(explanation), _formula(explanation)]
    )


def _categories_table(explanation: Explanation) -> list[str]:
    units = explanation.evidence.pivot_table(
        index="category", columns="event_type", values="units", aggfunc="sum", fill_value=0
    )
    units["evidence"] = units.sum(axis=1)
    units = units.sort_values(["evidence"], ascending=False, kind="stable")
    others, total = (units.sum() * 0).rename(OTHERS), units.sum().rename(ALL)
    shown = pd.concat([units, others.to_frame().T, total.to_frame().T]).map(_format_units)
    expected = {name: explanation.expected[name].share for name in units.index}
    shares = {name: explanation.share(name) for name in units.index}
    all_shares = {**shares, OTHERS: max(1.0 - sum(shares.values()), 0.0), ALL: 1.0}
    shown["share"] = [f"{all_shares[name]:.2%}" for name in shown.index]
    shown["expected"] = [f"{expected[name]:.2%}" if name in expected else "" for name in shown.index]
    shown["lift"] = [f"{shares[name] / expected[name]:.2f}" if expected.get(name) else "" for name in shown.index]
    return _table(shown)


def _top_categories_table(explanation: Explanation) -> list[str]:
    """The top categories of the scores with their figures, and an empty line."""
    rows = {}
    for name in explanation.top_categories:
        expected, share = explanation.expected[name], explanation.share(name)
        own, usual = float(explanation.events_of(name).units.sum()) / UNITS, expected.evidence
        figures = (f"{own:.2f}", f"{usual:.2f}", f"{own * np.log(own / usual):.2f}")
        rows[name] = (*figures, f"{share:.2%}", f"{expected.share:.2%}", f"{share / expected.share:.2f}")
    columns = ["evidence", "usual", "gain", "share", "expected", "lift"]
    shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("top categories")
    return [*_table(shown), ""] if rows else []


def category_text(explanation: Explanation, category: str) -> str:
    """Every event that counted for one category, and how its share is computed."""
    rows = explanation.events_of(category).sort_values(["occurred_at", "event_type"])
    shown = pd.DataFrame(
        {
            "when (UTC)": [*rows.occurred_at.dt.strftime(DAY_FORMAT), "all"],
            "event": [*rows.event_type, ""],
            "P(category)": [*(f"{value:.2f}" for value in rows.probability), ""],
            "evidence": [*(_format_units(units) for units in rows.units), _format_units(int(rows.units.sum()))],
        }
    ).set_index("when (UTC)")
    share, expected = explanation.share(category), explanation.expected[category].share
    return "\n".join(
        [
            *_segments(explanation),
            "",
            category,
            *_table(shown),
            "",
            "share  = parent share * (evidence + kappa * shop share) / (parent evidence + kappa), top level first",
            "shop share: the category's part of all customers' interest in its parent",
            *_share_steps(explanation, category),
            f"lift   {share / expected:.2f} = share / {_digits(expected)}, the expected share of a customer equally "
            "active at the same times, with average interests"
            if expected
            else "lift   none: the category is new to the shop",
            *_buying_habits(explanation, category),
        ]
    )


def _share_steps(explanation: Explanation, category: str) -> list[str]:
    """How the share is computed, level by level; each line follows from the one before."""
    kappa = _digits(explanation.kappa)
    return [
        f"{_digits(step.share)} = {_digits(step.parent_share)} * ({step.evidence:.3f} + {kappa} * "
        f"{_digits(step.shop_share)}) / ({step.parent_evidence:.3f} + {kappa})    {step.category}"
        for step in explanation.share_steps(category)
    ]


def _buying_habits(explanation: Explanation, category: str) -> list[str]:
    """How the customer buys in a category; empty if too little was bought."""
    rows = explanation.benefits[explanation.benefits.category == category]
    if rows.empty:
        return []
    row = rows.iloc[0]
    text = f"bought {counted(row.item_count, 'item')}"
    if pd.notna(row.discount_share):
        text += f", {row.discount_share:.0%} of the purchases at a discount"
    if pd.notna(row.price_level):
        text += f", at {row.price_level:.2f} times the category's average price"
    return [text]


def _segments(explanation: Explanation) -> list[str]:
    """The customer's segments, what each stands for, and what the customer did."""
    facets, profile = explanation.facets, explanation.profile
    lines = [line for facet in facets for line in _facet(explanation, facet)]
    if len(facets) > 1:
        names = [explanation.predicted[facet_column("segment", facet.column_prefix)] for facet in facets]
        lines.insert(0, " · ".join(names))
    return [
        *lines,
        f"Lifecycle  {profile.lifecycle_stage}, {profile.temperature}; {_orders(explanation)}; "
        f"{counted(profile.event_count, 'event')} in {counted(profile.session_count, 'visit')}",
        *([_spend(explanation)] if explanation.has_prices else []),
    ]


def _spend(explanation: Explanation) -> str:
    unit = f" {explanation.currency}" if explanation.currency else ""
    days = counted(explanation.spec.history_days, "day")
    return f"Spend      {explanation.profile.net_spend:,.2f}{unit} in the last {days}, returns deducted"


def _facet(explanation: Explanation, facet: Facet) -> list[str]:
    """The segment in one facet, its rule, and the runner-up."""
    scores = {name: explanation.predicted[facet_column(name, facet.column_prefix)] for name in SEGMENT_COLUMNS}
    if pd.isna(scores["strength"]):
        certainty = "grouped by rule, "
    else:
        certainty = f"{'' if scores['is_stable'] else 'unstable, '}strength {scores['strength']:.2f}, "
    evidence = f"{certainty}evidence {scores['evidence']}"
    lines = [f"{facet.name.capitalize():<11}{scores['segment']} ({evidence})"]
    if rule := explanation.rule(facet):
        lines.append(f"Rule       about: {rule}")
    if isinstance(scores["next_segment"], str):
        lines.append(f"Runner-up  {scores['next_segment']} (margin {scores['margin']:.2f}; 0 is on the border)")
    return lines


def _orders(explanation: Explanation) -> str:
    """How many orders in the window, and when the last one was; there may be earlier ones."""
    profile, since = explanation.profile, explanation.profile.days_since_last_purchase
    if pd.notna(since):
        return (
            f"{counted(profile.order_count, 'order')}, last order {since:.1f} days before {explanation.as_of:%Y-%m-%d}"
        )
    if profile.is_buyer_from_before:
        return f"no orders in the last {counted(explanation.spec.history_days, 'day')}, but earlier ones"
    return "0 orders, bought before the log starts" if profile.return_count else "0 orders, has never ordered"


def _formula(explanation: Explanation) -> str:
    naming = explanation.naming
    return (
        f"Evidence is the weight of each event, halved for every {explanation.half_life_days:g} days before the last "
        f"counted event of the customer. The shop's average interests count as much as {_digits(explanation.kappa)} "
        "events of weight 1. Lift is the share divided by the expected share, which is that of a customer equally "
        "active at the same times, with the average interests of those times. Top categories include parent "
        f"categories, as in the scores. They have a lift of at least {naming.min_lift:g} and a share of at least "
        f"{naming.min_interest_share:.0%} (naming.min_lift, naming.min_interest_share of the model), and are sorted "
        "by gain = evidence * ln(evidence / usual), where usual is the evidence of that average customer. "
        "Use --category to list the events of one category and see how its share is computed."
    )


def _format_units(units: int) -> str:
    return f"{units / UNITS:.3f}"


def _digits(value: float) -> str:
    """A number with four significant digits, never in powers of ten."""
    return np.format_float_positional(value, precision=4, unique=False, fractional=False, trim="-")


def _table(table: pd.DataFrame) -> list[str]:
    """Lines of a table. The index is not folded, as its names are copied for --category; all else are figures."""
    rows = [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    head = [str(table.index.name or ""), *table.columns]
    return align_columns([head, *rows], right=range(1, len(head)), whole={0})
