"""P(category | query): learned for frequent queries, predicted from the text for rare ones."""

from __future__ import annotations

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from features import searches
from features.categories import SEPARATOR
from features.events import EventType
from models.queries import WAYS, QueryModel, fit_query_model
from models.scorer import Floats
from pipeline.config.params import Params
from pipeline.stores.engines.engine import Engine

MAX_RARE_QUERIES = 3_000
"""Most rare queries used to calibrate the confidence of predictions; larger sets are sampled evenly."""


def learn_queries(events: ir.Table, params: Params) -> pd.DataFrame:
    """P(category | query) of all queries followed by actions: query, column, probability, customer_count."""
    learned = searches.query_categories(
        events,
        window_minutes=params.searches.window_minutes,
        min_customers=1,
        prior_searches=params.searches.prior_searches,
        min_probability=0.0,
        outcome_weights=params.searches.outcome_weights,
        half_life_minutes=params.searches.half_life_minutes,
    )
    return learned.order_by("query", "column").to_pandas()


def purity(typed: pd.DataFrame) -> float:
    """Mean share of the top category of each query of `learn_queries`; 1 without queries."""
    by_query = typed.groupby("query").probability
    return float((by_query.max() / by_query.sum()).mean()) if len(typed) else 1.0


def probabilities_by_query(typed: pd.DataFrame, n_categories: int) -> tuple[list[str], Floats]:
    """Queries of `learn_queries` and their P(category | query): (n, n_categories)."""
    row, queries = pd.factorize(typed["query"])
    probabilities = np.zeros((len(queries), n_categories))
    probabilities[row, typed.column.to_numpy(np.int64)] = typed.probability.to_numpy(np.float64)
    return [str(query) for query in queries], probabilities


def fit_queries(events: ir.Table, columns: ir.Table, n_categories: int, params: Params) -> QueryModel:
    """The query model, from observed events and the catalogue (category_path, column).

    Queries that too few customers typed calibrate the confidence of predictions; their text is not kept.
    """
    typed = learn_queries(events, params)
    is_learned = typed.customer_count >= params.searches.min_customers
    learned, others = typed[is_learned], typed[~is_learned]
    names = others["query"].unique()
    others = others[others["query"].isin(names[:: max(len(names) // MAX_RARE_QUERIES, 1)])]
    queries, probabilities = probabilities_by_query(
        learned[learned.probability >= params.searches.min_probability], n_categories
    )
    rare, rare_probabilities = probabilities_by_query(others, n_categories)
    # Without queries the catalogue is not needed.
    paths = columns.order_by("category_path").limit(None if len(queries) else 0).to_pandas()
    return fit_query_model(
        queries,
        probabilities,
        [path.split(SEPARATOR) for path in paths.category_path],
        paths.column.to_numpy(np.int64),
        min_confidence=params.searches.min_confidence,
        rare=rare,
        rare_probabilities=rare_probabilities,
        purity=purity(learned),
    )


def query_meanings(events: ir.Table, model: QueryModel, params: Params) -> tuple[pd.DataFrame, dict[str, int]]:
    """P(category | query) of every query in observed events, and the number of queries by method.

    Returns
    -------
    DataFrame
        query, column, probability. It may contain queries of a single customer, so it is never stored.
    dict
        Method of `models.queries.WAYS` -> number of distinct queries.
    """
    if not model.queries:
        return pd.DataFrame({"query": [], "column": [], "probability": []}), dict.fromkeys(WAYS, 0)
    typed = events.filter(events.event_type == str(EventType.SEARCH), events.query.notnull())
    queries = sorted(typed.select("query").distinct().to_pyarrow()["query"].to_pylist())
    predicted = model.predict(queries)
    query, column = np.nonzero(predicted.probabilities >= max(params.searches.min_probability, 1e-9))
    frame = pd.DataFrame(
        {
            "query": np.array(queries, dtype=object)[query],
            "column": column,
            "probability": predicted.probabilities[query, column],
        }
    )
    return frame, predicted.counts()


def query_table(engine: Engine, queries: pd.DataFrame) -> ir.Table | None:
    """P(category | query) as a database table; None without queries."""
    if queries.empty:
        return None
    return engine.upload(pa.Table.from_pandas(queries, preserve_index=False), "query_categories")


def counts_text(counts: dict[str, int]) -> str:
    """How many distinct queries were interpreted, by method; empty without queries."""
    total = sum(counts.values())
    if not total:
        return ""
    predicted = ", ".join(f"{counts[way]:,} by {way}" for way in WAYS[1:-1])
    return (
        f"Searches: of {total:,} different queries, {counts['learned']:,} were interpreted from the actions that "
        f"followed, {predicted}; {counts['abstained']:,} could not be interpreted."
    )


def query_metrics(counts: dict[str, int]) -> dict[str, float]:
    """The same counts as metrics: queries/learned, queries/by_text, queries/by_keyboard, queries/abstained."""
    names = {way: f"by_{way}" for way in WAYS[1:-1]}
    return {f"queries/{names.get(way, way)}": float(count) for way, count in counts.items()}
