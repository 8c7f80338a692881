"""Query datasets with known categories, half held out: simulated shops, hard queries, and proxies from real catalogues.

No large real search log was available. The proxies use words of real products as queries. They show real words and real
categories, but not what people type.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import ibis
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
from run import params

from features.categories import SEPARATOR, category_columns
from features.events import ObservationWindow
from features.searches import normalised_query
from pipeline.ingest.source import read_source
from pipeline.profiles.prepare_events import prepare_events
from pipeline.profiles.search_queries import learn_queries, probabilities_by_query, purity
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests import hard_queries
from tests.hard_queries import held_out

DATA = Path(__file__).parents[3] / "shared" / "data"
VAGUE = -1
"""Truth of a query without a particular category: any answer is wrong."""
MIN_QUERIES = 10
"""Minimum number of texts per category in the complete_journey proxy."""


@dataclass(frozen=True)
class QueryDataset:
    """Learned queries with P(category | query), and held-out queries with their category."""

    name: str
    known: list[str]
    probabilities: np.ndarray
    rare: list[str]
    rare_probabilities: np.ndarray
    paths: list[tuple[str, ...]]
    path_categories: np.ndarray
    unknown: list[str]
    truth: np.ndarray
    purity: float = 1.0


def hard(seed: int) -> QueryDataset:
    """A dataset from the generator of hard queries."""
    made = hard_queries.hard_searches(seed)
    paths = list(hard_queries.PATHS)
    return QueryDataset(
        f"hard queries, seed {seed}",
        made.known,
        made.probabilities,
        made.rare,
        made.rare_probabilities,
        paths,
        np.arange(len(paths)),
        made.unknown,
        made.truth,
        made.purity,
    )


def shop(folder: Path) -> Iterator[QueryDataset]:
    """A simulated shop: its rare queries, and half of its correctly spelled learned queries as unseen words."""
    settings = params(folder)
    with connect(settings.engine, folder=folder) as con:
        source = read_source(con, settings, rejected_path=None)
        known = prepare_events(DuckDB(con), source, settings, ObservationWindow(settings.as_of, settings.history_days))
        learned = learn_queries(known.observed, settings)
        cut = known.cut
        paths = known.columns.order_by("category_path").to_pandas()
        truth = con.read_parquet(folder / "truth_queries.parquet")
        truth = truth.mutate(query=normalised_query(truth.query)).to_pandas().drop_duplicates("query")
        typed = set(known.observed.filter(known.observed.query.notnull()).query.to_pyarrow().to_pylist())
    truth["category_path"] = truth.category_path.replace("", None)
    truth = truth[truth["query"].isin(typed)].sort_values("query")
    meaning = sorted(set(truth.category_path.dropna()))
    pairs = category_columns(ibis.memtable({"category_path": meaning}), cut).to_pandas()
    meant = truth.category_path.map(pairs.set_index("category_path").column).fillna(VAGUE).to_numpy(np.int64)
    is_learned = learned.customer_count >= settings.searches.min_customers
    clear = learned[is_learned & (learned.probability >= settings.searches.min_probability)]
    queries, probabilities = probabilities_by_query(clear, len(cut.categories))
    rare_queries = probabilities_by_query(learned[~is_learned], len(cut.categories))
    index = {query: row for row, query in enumerate(queries)}
    tree = [tuple(path.split(SEPARATOR)) for path in paths.category_path], paths.column.to_numpy(np.int64)
    is_rare = ~truth["query"].isin(queries).to_numpy()
    rare = truth["query"].to_numpy()[is_rare].tolist()
    yield QueryDataset(
        f"{folder.name}: rare queries",
        queries,
        probabilities,
        *rare_queries,
        *tree,
        rare,
        meant[is_rare],
        purity(learned[is_learned]),
    )
    correct = truth[~truth.is_typo & ~is_rare & truth.category_path.notnull()]["query"].tolist()
    half = np.random.default_rng(0).permutation(correct)[::2].tolist()
    kept = [index[query] for query in correct if query not in set(half)]
    answers = dict(zip(truth["query"], meant, strict=True))
    yield QueryDataset(
        f"{folder.name}: unseen words", [queries[row] for row in kept], probabilities[kept], [], probabilities[:0], *tree, half,
        np.array([answers[query] for query in half]),
    )  # fmt: skip


def journey(level: str) -> QueryDataset:
    """Proxy: product types of a real grocer as queries, half held out, with their department or category."""
    path = DATA / "complete_journey" / "products.parquet"
    rows = duckdb.sql(
        f"""select lower(regexp_replace(product_type, '[^A-Za-z0-9]+', ' ', 'g')) as text, department as "department",
        product_category, count(*) as n from '{path}' where product_type is not null and product_category is not null
        group by all order by all"""
    ).df()
    rows["text"] = rows.text.str.strip()
    counts = rows.groupby(["text", level]).n.sum().unstack(fill_value=0)
    counts = counts.loc[:, (counts > 0).sum() >= MIN_QUERIES]
    counts = counts[(counts.sum(axis=1) > 0) & (counts.index != "")]
    is_known = np.random.default_rng(0).permutation(len(counts)) % 2 == 0
    shares = counts.to_numpy(float) / (counts.sum(axis=1).to_numpy(float)[:, None] + 2.0)
    texts = counts.index.to_numpy()
    return QueryDataset(
        f"proxy: grocer's product types -> {level}", texts[is_known].tolist(), shares[is_known], [], shares[:0],
        [(name,) for name in counts.columns], np.arange(counts.shape[1]), texts[~is_known].tolist(),
        shares[~is_known].argmax(axis=1),
    )  # fmt: skip


def electronics(seed: int = 0) -> QueryDataset:
    """Proxy: brands, category words and model numbers of a real log as queries; half of the users held out."""
    path = DATA / "rees46" / "events.parquet"
    rows = duckdb.sql(
        f"""select user_id, category_code as code, brand, product_id from '{path}'
        where category_code is not null and brand is not null order by all"""
    ).df()
    rng = np.random.default_rng(seed)
    codes, meant = np.unique(rows.code.to_numpy(str), return_inverse=True)
    texts = []
    for code, brand, product in zip(rows.code, rows.brand, rows.product_id, strict=True):
        words = code.replace("_", " ").split(".")[1:]
        word = words[int(rng.integers(len(words)))]
        model = f"{brand[0]}{str(product)[-3:]}"
        draw = rng.random()
        texts.append(
            f"{brand} {word}" if draw < 0.4 else brand if draw < 0.6 else f"{brand} {model}" if draw < 0.8 else word
        )
    is_known = rows.user_id.to_numpy(np.int64) % 2 == 0
    made = held_out(texts, meant, meant, is_known, len(codes))
    paths = [tuple(code.replace("_", " ").split(".")) for code in codes]
    return QueryDataset("proxy: brands and words of an electronics shop", made.known, made.probabilities, made.rare, made.rare_probabilities, paths,
               np.arange(len(codes)), made.unknown, made.truth, made.purity)  # fmt: skip


def all_datasets(shops: list[Path]) -> Iterator[QueryDataset]:
    """All datasets that are available."""
    for folder in shops:
        yield from shop(folder)
    for seed in (1, 2, 3):
        yield hard(seed)
    if DATA.exists():
        yield journey("department")
        yield journey("product_category")
        yield electronics()
