"""A monitor's 600 test orders and three wholesale buyers ruin the best segment of a shop, unless they are set apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.metrics import adjusted_rand_score

from pipeline.commands.check import check
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.profiles.unusual import FILE, find_unusual, set_apart
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.describe import describe_segments
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.pipeline.conftest import ADDED


@dataclass(frozen=True)
class Outcome:
    """The behaviour segments of a shop."""

    segment_ids: pd.Series
    best: set[str]
    best_spend: float
    warnings: list[str]


def segments(params: Params, shop: Path, *, action: str) -> Outcome:
    """Segments by ten clusters; ``best`` are the customers of the one with the highest mean spend."""
    events = params.source.events.model_copy(update={"path": str(shop / "events")})
    params = params.model_copy(
        update={
            "source": params.source.model_copy(update={"events": events}),
            "outliers": params.outliers.model_copy(update={"action": action}),
        }
    )
    folder = params.path(params.outputs.folder)
    with connect(params.engine, folder=folder) as con:
        source, params, warnings = set_apart(DuckDB(con), read_source(con, params, rejected_path=None), params, folder)
        profiles, facet = build_profiles(DuckDB(con), source, params), facets_of(params)[0]
        found = describe_segments(profiles, cluster(profiles, params, facet), params, facet, seasonal_lift=None)
    groups = profiles.table.net_spend.groupby(found.segment_ids)
    spend = groups.mean()[groups.size() >= params.naming.min_group]  # exact, unlike the figures of segments
    ids = pd.Series(found.segment_ids, profiles.table.customer_id)
    return Outcome(ids, set(ids.index[ids == spend.idxmax()]), float(spend.max()), warnings)


def overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def agreement(one: Outcome, other: Outcome) -> float:
    both = pd.concat([one.segment_ids, other.segment_ids], axis=1, join="inner")
    clustered = both[~both.iloc[:, 0].str.startswith("standing")]
    return float(adjusted_rand_score(clustered.iloc[:, 0], clustered.iloc[:, 1]))


def test_each_action_keeps_the_best_segment(params: Callable[..., Params], shop: Path, disturbed_shop: Path) -> None:
    own = params("facets.behaviour.n_segments=10")
    clean = segments(own, shop, action="warn")
    assert clean.warnings == []
    ruined = segments(own, disturbed_shop, action="warn")
    assert overlap(clean.best, ruined.best) < 0.8
    assert ruined.best_spend > 5 * clean.best_spend
    assert set(ADDED) <= ruined.best
    for action, least, spend in (("cap", 0.9, 1.1), ("own_segment", 0.95, 1.05), ("exclude", 1.0, 1.0)):
        kept = segments(own, disturbed_shop, action=action)
        assert overlap(clean.best, kept.best) >= least, action
        assert clean.best_spend / spend <= kept.best_spend <= clean.best_spend * spend + 1e-9, action
        assert agreement(clean, kept) > max(0.9, agreement(clean, ruined)), action
        added = set(kept.segment_ids.reindex(ADDED).dropna())
        assert action == "cap" or added == ({"standing-unusual"} if action == "own_segment" else set())


def test_check_reports_shares_and_writes_the_ids_to_a_private_file(
    params: Callable[..., Params], shop: Path, disturbed_shop: Path
) -> None:
    own = params(f"source.events.path={disturbed_shop / 'events'}")
    text = check(own, progress=SILENT)
    (warning,) = [line for line in text.splitlines() if "far beyond all others" in line]
    assert "4 customers" in warning
    assert "3 by spend, 1 by orders, 1 with orders as regular as a clock" in warning
    assert "outliers.action" in warning
    assert not [name for name in ADDED if name in text]
    path = own.path(own.outputs.folder) / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert pd.read_csv(path).customer_id.tolist() == list(ADDED)
    assert "far beyond" not in check(params(), progress=SILENT)
    assert not path.exists()


def test_given_limits_replace_those_of_the_log(params: Callable[..., Params]) -> None:
    own = params("outliers.limits={order_count: 20}")
    with connect(own.engine, folder=own.path(own.outputs.folder)) as con:
        unusual = find_unusual(DuckDB(con), read_source(con, own, rejected_path=None), own)
    assert unusual.limits["order_count"] == 20.0
    assert set(unusual.table.reasons) == {"order_count"}
    assert (unusual.table.order_count > 20).all()
    assert len(unusual.table) > 3
