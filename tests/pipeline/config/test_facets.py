"""Facets from training to scores: both, only one, one with all blocks, and by rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.interests import SHARE_PREFIX
from models.scorer import facet_column
from pipeline.commands.compare import compare
from pipeline.commands.explain import explain
from pipeline.commands.promote import promote
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.errors import ParamsError, UserError
from pipeline.config.facets import facets_of, with_facets
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.report.training_result import TrainingResult
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.conftest import PARAMS, BuildOnce, copy_store
from tests.pipeline.conftest import copied, params_in
from tests.segments import published_sizes

ALL_BLOCKS = "facets.behaviour.block_weights={interest: 1.0, value: 1.0, journey: 1.0, context: 0.25, benefits: 0.25}"
SEGMENT_COLUMNS = ("segment_id", "segment", "cluster_id", "strength", "next_segment_id", "margin", "evidence")


def scores_of(settings: Params, trained: TrainingResult, out: Path, *, update: bool = False) -> pd.DataFrame:
    result = score(settings, model_uri=trained.model_uri, out=out, progress=SILENT, update=update)
    return pq.read_table(result.path).to_pandas()


def test_names_of_facets_and_of_their_columns(params: Callable[..., Params]) -> None:
    behaviour, interest = facets_of(params())
    assert [behaviour.column_prefix, interest.column_prefix] == ["", "interest_"]
    assert [behaviour.identity.id_prefix, interest.identity.id_prefix] == ["s", "i"]
    assert facet_column("is_stable", interest.column_prefix) == "is_interest_stable"
    (alone,) = facets_of(params("facets.behaviour=null"))
    assert (alone.name, alone.is_first, alone.column_prefix) == ("interest", True, "")
    changed = interest.with_settings(block_weights={"value": 0.5})
    assert dict(changed.settings.block_weights) == {"interest": 1.0, "value": 0.5}
    assert facets_of(with_facets(params(), [behaviour, changed])) == [behaviour, changed]
    with pytest.raises(ParamsError, match="facets"):
        params("facets.behaviour=null", "facets.interest=null")


@pytest.mark.slow
def test_one_facet_of_all_blocks_then_both(params: Callable[..., Params], tmp_path: Path) -> None:
    """One clustering of what customers do and what they like, as before there were facets."""
    alone = params("facets.interest=null", ALL_BLOCKS, "facets.behaviour.block_weights.rates=1.0")
    first = train(alone, sweep=False, progress=SILENT)
    assert set(first.segments.facet) == {"behaviour"}
    assert not any("interest" in note and "No segments" in note for note in first.notes)
    frame = scores_of(alone, first, tmp_path / "one.parquet")
    assert not [name for name in frame if "interest" in name]
    assert published_sizes(frame.segment_id) == first.segments.set_index("segment_id").customer_count.to_dict()
    _, figures, summary = mlflow_runs.read_run(mlflow_runs.open_store(alone), first.run_id)
    assert not [name for name in figures if name.startswith("interest/")]
    assert ([facet["name"] for facet in summary["facets"]], summary["crossing"]) == (["behaviour"], None)
    model = json.loads((folder_of(first) / "segmentation" / "behaviour" / "model.json").read_text())
    arrays = np.load(folder_of(first) / "segmentation" / "behaviour" / "arrays.npz")
    names = [*model["scaling"]["names"]]
    assert any(name.startswith(SHARE_PREFIX) for name in names) and {"spend", "activity"} <= set(names)
    assert len(arrays["clusters.centres"]) == 6
    explanation = explain(
        alone, customer=frame.customer_id[0], category=None, model_uri=first.model_uri, progress=SILENT
    )
    assert "Behaviour  " in explanation and "\nInterest " not in explanation

    # The champion has no other facet, so the ids of that one start at 1.
    both = params()
    second = train(both, sweep=False, progress=SILENT)
    (note,) = (note for note in second.notes if note.startswith("Segments of interest get new numbers"))
    assert "it has no facet interest" in note
    own = second.segments[~second.segments.is_standing]
    assert set(own.segment_id[own.facet == "interest"]) == {f"i{number:02}" for number in range(1, 6)}
    assert {row["facet"] for row in second.lineage} == {"behaviour", "interest"}
    comparison = compare(both, [first.run_id, second.run_id], flow=True, progress=SILENT)
    assert re.search(r"interest/stability_mean +- +\d", comparison) and "i01" in comparison
    promote(both, second.run_id, force=True)
    out = Path(both.path(both.outputs.folder)) / "scores.parquet"
    frame = scores_of(both, second, out)
    assert {"interest_segment_id", "interest_evidence"} <= set(frame)
    rows = json.loads((both.path(both.outputs.folder) / "segments.json").read_text())
    for prefix, facet in (("", "behaviour"), ("interest_", "interest")):
        names = {row["segment_id"]: row["name"] for row in rows if row["facet"] == facet}
        assert frame[f"{prefix}segment"].tolist() == frame[f"{prefix}segment_id"].map(names).tolist()
        nearest = frame[facet_column("next_segment_id", prefix)]
        assert frame[facet_column("next_segment", prefix)].equals(nearest.map(names).astype("str"))


def folder_of(trained: TrainingResult) -> Path:
    """Folder of a model's artifacts."""
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(trained.model_uri)) / "artifacts"


@pytest.fixture
def by_rule(build_once: BuildOnce, shop: Path, mlflow_store: Path, tmp_path: Path) -> tuple[Params, TrainingResult]:
    """A training with interests grouped by leading category."""
    changes = ("facets.interest.algorithm=rule", "facets.behaviour.n_segments=4")

    def make(folder: Path) -> TrainingResult:
        copy_store(mlflow_store, folder)
        return train(params_in(folder, shop, *changes), sweep=False, progress=SILENT)

    source, made = build_once("by_rule", make)
    (trained,) = copied(source, tmp_path, made)
    return params_in(tmp_path, shop, *changes), trained


@pytest.mark.slow
def test_interests_by_the_leading_category(by_rule: tuple[Params, TrainingResult], tmp_path: Path) -> None:
    settings, trained = by_rule
    frame = scores_of(settings, trained, tmp_path / "scores.parquet").set_index("customer_id")
    own = trained.segments[trained.segments.facet == "interest"].set_index("segment_id")
    assert published_sizes(frame.interest_segment_id) == own.customer_count.to_dict()
    assert frame.interest_segment.equals(frame.interest_segment_id.map(own.name).astype("str"))
    assert set(frame.interest_evidence) == {"ok", "low", "broad"}
    assert set(frame.interest_segment_id[frame.interest_evidence == "broad"]) == {"broad"}
    assert set(frame.interest_segment_id[frame.interest_evidence == "low"]) == {"standing-unknown"}
    assert (frame.interest_cluster_id[frame.interest_evidence == "broad"] == -1).all()

    # Leading categories computed here: the share is most standard errors above the shop's, and far enough.
    with connect(settings.engine, folder=tmp_path) as con:
        profiles = build_profiles(DuckDB(con), read_source(con, settings, rejected_path=None), settings)
    folder = folder_of(trained) / "segmentation" / "interest"
    ids = {row["cluster_id"]: row["segment_id"] for row in json.loads((folder / "model.json").read_text())["segments"]}
    groups, (_, facet) = np.load(folder / "arrays.npz")["clusters.nodes"], facets_of(settings)
    shares = [SHARE_PREFIX + name for name in profiles.shop.spec.cut.categories]
    mix = [np.array(profiles.shop.spec.cut.mix)[groups == group].sum() for group in range(max(groups) + 1)]
    rule, expected = settings.clustering.leading_category, []
    for row in profiles.table.to_dict("records"):
        if row["event_count"] < facet.settings.min_events or row["evidence"] < facet.settings.min_evidence:
            expected.append("standing-unknown")
            continue
        leads = {-1: 0.0}
        for group, usual in enumerate(mix):
            share = sum(row[name] for name, own in zip(shares, groups, strict=True) if own == group)
            error = (share * (1.0 - share) / (row["evidence"] + settings.interests.kappa + 1.0)) ** 0.5
            if share >= rule.min_lift * usual and (share - usual) / error >= rule.min_errors:
                leads[group] = (share - usual) / error
        expected.append(ids[max(leads, key=lambda group: leads[group])])
    assert frame.interest_segment_id[profiles.table.customer_id].tolist() == expected
    (note,) = (note for note in trained.notes if "grouped by interest have no leading category" in note)
    assert note.startswith(
        f"{(frame.interest_evidence == 'broad').sum() / (frame.interest_evidence != 'low').sum():.0%} of"
    )
    # Every segment is named by a category that its customers are more interested in than others.
    for segment in own[own.index.str.startswith("i")].itertuples():
        assert segment.top_categories and segment.top_categories[0]["lift"] > rule.min_lift


@pytest.mark.slow
def test_an_update_gives_the_same_segments_as_a_full_scoring(
    by_rule: tuple[Params, TrainingResult], tmp_path: Path
) -> None:
    settings, trained = by_rule
    settings = settings.model_copy(update={"outputs": settings.outputs.model_copy(update={"folder": str(tmp_path)})})
    for days in (0, 2):
        later = settings.model_copy(update={"as_of": settings.as_of + timedelta(days=days)})
        updated = scores_of(later, trained, tmp_path / "a.parquet", update=True)
    full = scores_of(later, trained, tmp_path / "b.parquet")
    names = [facet_column(name, prefix) for prefix in ("", "interest_") for name in SEGMENT_COLUMNS]
    assert set(names) <= set(updated)
    pd.testing.assert_frame_equal(updated, full, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_only_the_interest_facet(params: Callable[..., Params], tmp_path: Path) -> None:
    settings = params("facets.behaviour=null")
    trained = train(settings, sweep=False, progress=SILENT)
    assert set(trained.segments.facet) == {"interest"}
    frame = scores_of(settings, trained, tmp_path / "scores.parquet")
    assert not [name for name in frame if name.startswith(("interest_", "next_interest_"))]
    assert set(frame.evidence) <= {"ok", "low", "broad"}
    assert published_sizes(frame.segment_id) == trained.segments.set_index("segment_id").customer_count.to_dict()


@pytest.mark.slow
def test_a_shop_without_categories_reports_once_that_it_has_no_interest_facet(
    params: Callable[..., Params], tmp_path: Path
) -> None:
    settings = params("source.products=null", "checks.without_category={warn: 1.0, error: 1.0}")
    trained = train(settings, sweep=False, progress=SILENT)
    assert set(trained.segments.facet) == {"behaviour"}
    assert trained.as_text().count("No segments by interest: the log has fewer than two categories.") == 1
    _, _, summary = mlflow_runs.read_run(mlflow_runs.open_store(settings), trained.run_id)
    assert sum("No segments by interest" in note for note in summary["quality"]["notes"]) == 1
    frame = scores_of(settings, trained, tmp_path / "scores.parquet")
    assert not [name for name in frame if "interest_" in name]
    assert [facet.name for facet in facets_of(trained.params)] == ["behaviour"]
    with pytest.raises(
        UserError, match=r"facets\.interest: expected data to segment by, but the log has fewer than two"
    ):
        train(params("source.products=null", "facets.behaviour=null"), sweep=False, progress=SILENT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clustering.n_segments=8", "facets.behaviour.n_segments"),
        ("clustering.algorithm=kmeans", "facets.behaviour.algorithm"),
        ("clustering.hdbscan.noise=keep", "facets.behaviour.noise"),
        ("sweep.n_segments=[4]", "facets.behaviour.try_n_segments"),
    ],
)
def test_keys_from_before_facets_are_refused_with_the_new_key(old: str, new: str) -> None:
    with pytest.raises(ParamsError, match=rf"It is `{re.escape(new)}` now"):
        load_params(PARAMS, [old])
