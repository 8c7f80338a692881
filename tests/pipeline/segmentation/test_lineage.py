"""Profiles with the champion's columns, and the ids and lineage of segments over several trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from models.segmentation import FittedClusters
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.segmentation.lineage import _with_model_columns, identify, with_names
from pipeline.stores import mlflow_runs
from pipeline.stores.mlflow_runs import LINEAGE


def test_profiles_with_the_columns_of_the_champions_model() -> None:
    today = pd.DataFrame(
        {
            "interest: Pets > Cats": [0.5, 0.1],
            "interest: Pets > Dogs": [0.2, 0.1],
            "interest: Petsitting": [0.1, 0.3],
            "interest: Toys": [0.2, 0.5],
            "spend": [1.0, 2.0],
        }
    )
    columns = ["interest: Pets", "interest: Toys", "interest: (other)", "spend", "channel: app"]
    converted = _with_model_columns(today, columns)[columns]
    expected = pd.DataFrame(
        {
            "interest: Pets": [0.7, 0.2],  # the sum of its subcategories; Petsitting is not one of them
            "interest: Toys": [0.2, 0.5],
            "interest: (other)": [0.1, 0.3],
            "spend": [1.0, 2.0],
            "channel: app": np.nan,  # the model fills in missing columns
        }
    )
    pd.testing.assert_frame_equal(converted, expected)
    with pytest.raises(UserError, match="it knows 3 categories, but this log has only 1 of them"):
        _with_model_columns(today, ["interest: Toys", "interest: Cars", "interest: Books"])


def test_only_rows_of_the_last_training_get_new_names() -> None:
    rows = [
        {"run_id": "a", "segment_id": "s01", "is_here": True, "name": "Old"},
        {"run_id": "b", "segment_id": "s01", "is_here": True},
        {"run_id": "b", "segment_id": "s02", "is_here": False},
    ]
    named = with_names(rows, [{"segment_id": "s01", "name": "New", "names": {"en": "New", "sq": "I ri"}}])
    assert [row.get("name") for row in named] == ["Old", "New", None]
    assert named[1]["names"]["sq"] == "I ri"
    assert with_names([], []) == []


def fitted_with_an_empty_centre(facet: Facet, ids: dict[int, str] | None = None) -> FittedClusters:
    """KMeans with three centres, the second of which has no customers."""
    model = {"algorithm": "kmeans", "centres": np.zeros((3, 1))}
    return FittedClusters(
        facet=facet.identity,
        **{"algorithm": "kmeans", "scaling": {}, "clusters": SimpleNamespace(model=model), "ids": ids or {}},
        **{"is_clustered": np.ones(4, bool), "labels": np.array([0, 0, 2, 2]), "space": np.zeros((4, 1))},
        **{"quality": {}, "stability": {}, "candidates": [], "choice_reason": "", "notes": ()},
    )


def test_an_empty_cluster_has_a_separate_id(params: Callable[..., Params]) -> None:
    config = params()
    behaviour, interest = facets_of(config)
    fitted = fitted_with_an_empty_centre(behaviour)
    store = mlflow_runs.open_store(config)
    identity = identify(store, None, fitted, config, behaviour, run_id="run")
    # A first training at the same time has no champion to match, so it uses the next numbers.
    other = identify(store, None, fitted, config, behaviour, run_id="other")
    assert set(other.ids.values()) == {"s04", "s05", "s06"}
    # Each facet is numbered separately.
    by_interest = fitted_with_an_empty_centre(interest)
    assert identify(store, None, by_interest, config, interest, run_id="run").ids == {0: "i01", 1: "i03", 2: "i02"}
    # The empty cluster must not share the id s02 with the second cluster that has customers.
    assert identity.ids == {0: "s01", 1: "s03", 2: "s02"}
    assert [row["segment_id"] for row in identity.lineage] == ["s01", "s02"]
    named = fitted_with_an_empty_centre(behaviour, identity.ids)
    assert [named.segment_id(cluster) for cluster in named.model_clusters] == ["s01", "s03", "s02"]


def test_a_damaged_lineage_file_causes_a_warning(params: Callable[..., Params], champion: TrainingResult) -> None:
    config, first = params(), champion
    client = mlflow_runs.open_store(config).client
    client.log_text(first.run_id, "[{", LINEAGE)
    with pytest.raises(UserError, match="expected rows of lineage; the file is damaged"):
        mlflow_runs.read_lineage(mlflow_runs.open_store(config), first.run_id, LINEAGE)
    second = train(config, sweep=False, progress=SILENT)
    notes = [note for note in second.notes if note.startswith("Compared with the champion")]
    for note, expected in zip(
        notes, ("behaviour: 6 segments are the same", "interest: 5 segments are the same"), strict=True
    ):
        assert f"Warning: lineage.json of run {first.run_id}" in note and expected in note
    assert {row["run_id"] for row in second.lineage} == {second.run_id}
    assert set(second.segments.segment_id) == set(first.segments.segment_id)
    client.log_text(first.run_id, '{"a": 1}', LINEAGE)
    with pytest.raises(UserError, match="damaged"):
        mlflow_runs.read_lineage(mlflow_runs.open_store(config), first.run_id, LINEAGE)
    assert mlflow_runs.read_lineage(mlflow_runs.open_store(config), first.run_id, "none.json") == []


def survivors(trained: TrainingResult) -> set[str]:
    return {
        row["segment_id"] for row in trained.lineage if row["run_id"] == trained.run_id and row["verdict"] == "survived"
    }


def test_segments_survive_shuffled_rows_and_more_customers(
    params: Callable[..., Params], shop: Path, tmp_path: Path
) -> None:
    events = pq.read_table(shop / "events")
    ids = sorted(set(events["customer_id"].to_pylist()) - {None})
    held_back = pa.array(ids[::10])
    few = events.filter(pc.invert(pc.is_in(events["customer_id"], held_back)))
    order = np.random.default_rng(0).permutation(len(few))
    for name, table in (("few", few), ("shuffled", few.take(order)), ("all", events)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    config = params()

    def trained_on(name: str) -> TrainingResult:
        path = str(tmp_path / f"{name}.parquet")
        source = config.source.model_copy(update={"events": config.source.events.model_copy(update={"path": path})})
        return train(config.model_copy(update={"source": source}), sweep=False, progress=SILENT)

    first, shuffled, grown = (trained_on(name) for name in ("few", "shuffled", "all"))
    pd.testing.assert_frame_equal(first.segments, shuffled.segments)
    assert survivors(shuffled) == set(first.segments.segment_id[~first.segments.is_standing])
    assert len(survivors(grown)) >= 4  # of 6
    before, after = (trained.segments.set_index("segment_id") for trained in (first, grown))
    same_archetype = [
        segment_id
        for segment_id in survivors(grown)
        if before.archetype[segment_id] and before.archetype[segment_id] == after.archetype[segment_id]
    ]
    assert same_archetype
    assert all(before["name"][segment_id] == after["name"][segment_id] for segment_id in same_archetype)


def test_another_seed_continues_the_champions_segments(params: Callable[..., Params], champion: TrainingResult) -> None:
    config, first = params(), champion
    again = train(config.model_copy(update={"seed": 99}), sweep=False, progress=SILENT)
    assert survivors(again) == set(first.segments.segment_id[~first.segments.is_standing])
    notes = [note for note in again.notes if "were refitted on today's customers" in note]
    assert [note.split(" were ")[0] for note in notes] == [
        f"The champion's segments of {facet}" for facet in ("behaviour", "interest")
    ]


def test_the_lineage_continues_after_a_training_without_clusters(
    params: Callable[..., Params], champion: TrainingResult
) -> None:
    config, first = params(), champion
    (behaviour, *_) = facets_of(config)
    by_rule = with_facets(config, [behaviour.with_settings(algorithm="rule")])
    earlier = [row for row in first.lineage if row["facet"] == "behaviour"]
    second = train(by_rule, sweep=False, progress=SILENT)
    assert second.lineage[: len(earlier)] == earlier
    last = second.lineage[len(earlier) :]
    assert {(row["verdict"], row["is_here"]) for row in last} == {("gone", False)}
    assert {row["segment_id"] for row in last} == {row["segment_id"] for row in earlier}
