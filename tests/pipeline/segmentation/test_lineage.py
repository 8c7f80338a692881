"""Today's profiles as the champion knows them, and what is kept of a line of trainings."""

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
from pipeline.commands.train import Trained, train
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.params import Params
from pipeline.segmentation.lineage import _as_known_to, identify, with_names
from pipeline.stores import mlflow_runs
from pipeline.stores.mlflow_runs import LINEAGE


def test_profiles_as_the_champion_knows_them() -> None:
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
    found = _as_known_to(today, columns)[columns]
    expected = pd.DataFrame(
        {
            "interest: Pets": [0.7, 0.2],  # by its parts; Petsitting is none of them
            "interest: Toys": [0.2, 0.5],
            "interest: (other)": [0.1, 0.3],
            "spend": [1.0, 2.0],
            "channel: app": np.nan,  # what stands for it is the model's affair
        }
    )
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(UserError, match="it knows 3 categories, of which this log has 1"):
        _as_known_to(today, ["interest: Toys", "interest: Cars", "interest: Books"])


def test_names_go_with_the_last_training() -> None:
    rows = [
        {"run_id": "a", "segment_id": "s01", "is_here": True, "name": "Old"},
        {"run_id": "b", "segment_id": "s01", "is_here": True},
        {"run_id": "b", "segment_id": "s02", "is_here": False},
    ]
    found = with_names(rows, [{"segment_id": "s01", "name": "New", "names": {"en": "New", "sq": "I ri"}}])
    assert [one.get("name") for one in found] == ["Old", "New", None]
    assert found[1]["names"]["sq"] == "I ri"
    assert with_names([], []) == []


def fitted_with_an_empty_centre(facet: Facet, ids: dict[int, str] | None = None) -> FittedClusters:
    """KMeans with three centres, of which nobody is at the second."""
    model = {"algorithm": "kmeans", "centres": np.zeros((3, 1))}
    return FittedClusters(
        facet=facet.identity,
        **{"algorithm": "kmeans", "scaling": {}, "clusters": SimpleNamespace(model=model), "ids": ids or {}},
        **{"is_clustered": np.ones(4, bool), "labels": np.array([0, 0, 2, 2]), "space": np.zeros((4, 1))},
        **{"quality": {}, "stability": {}, "candidates": [], "choice_reason": "", "notes": ()},
    )


def test_a_cluster_of_nobody_has_an_id_of_its_own(params: Callable[..., Params]) -> None:
    given = params()
    behaviour, interest = facets_of(given)
    fitted = fitted_with_an_empty_centre(behaviour)
    mlflow = mlflow_runs.open_store(given)
    found = identify(mlflow, None, fitted, given, behaviour, run_id="run")
    # A first training at the same time has no champion to be matched with, and numbers of its own.
    other = identify(mlflow, None, fitted, given, behaviour, run_id="other")
    assert set(other.ids.values()) == {"s04", "s05", "s06"}
    # Each facet has numbers of its own.
    liked = fitted_with_an_empty_centre(interest)
    assert identify(mlflow, None, liked, given, interest, run_id="run").ids == {0: "i01", 1: "i03", 2: "i02"}
    # By its number, the cluster of nobody was s02 as well.
    assert found.ids == {0: "s01", 1: "s03", 2: "s02"}
    assert [row["segment_id"] for row in found.lineage] == ["s01", "s02"]
    named = fitted_with_an_empty_centre(behaviour, found.ids)
    assert [named.segment_id(cluster) for cluster in named.model_clusters] == ["s01", "s03", "s02"]


def test_a_damaged_lineage_is_told(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    client = mlflow_runs.open_store(given).MlflowClient()
    client.log_text(first.run_id, "[{", LINEAGE)
    with pytest.raises(UserError, match="expected the rows of a line of trainings; the file is damaged"):
        mlflow_runs.read_lineage(mlflow_runs.open_store(given), first.run_id, LINEAGE)
    found = train(given, sweep=False, progress=lambda step: None)
    notes = [note for note in found.notes if note.startswith("Compared with the champion")]
    for note, told in zip(
        notes, ("behaviour: 6 segments are the same", "interest: 5 segments are the same"), strict=True
    ):
        assert f"Warning: lineage.json of run {first.run_id}" in note and told in note
    assert {row["run_id"] for row in found.lineage} == {found.run_id}
    assert set(found.segments.segment_id) == set(first.segments.segment_id)
    client.log_text(first.run_id, '{"a": 1}', LINEAGE)
    with pytest.raises(UserError, match="damaged"):
        mlflow_runs.read_lineage(mlflow_runs.open_store(given), first.run_id, LINEAGE)
    assert mlflow_runs.read_lineage(mlflow_runs.open_store(given), first.run_id, "none.json") == []


def survivors(trained: Trained) -> set[str]:
    return {
        row["segment_id"] for row in trained.lineage if row["run_id"] == trained.run_id and row["verdict"] == "survived"
    }


def test_other_rows_first_and_a_tenth_more_customers(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    events = pq.read_table(shop / "events")
    ids = sorted(set(events["customer_id"].to_pylist()) - {None})
    held_back = pa.array(ids[::10])
    few = events.filter(pc.invert(pc.is_in(events["customer_id"], held_back)))
    order = np.random.default_rng(0).permutation(len(few))
    for name, table in (("few", few), ("shuffled", few.take(order)), ("all", events)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    given = params()

    def trained_on(name: str) -> Trained:
        path = str(tmp_path / f"{name}.parquet")
        source = given.source.model_copy(update={"events": given.source.events.model_copy(update={"path": path})})
        return train(given.model_copy(update={"source": source}), sweep=False, progress=lambda step: None)

    first, shuffled, grown = (trained_on(name) for name in ("few", "shuffled", "all"))
    pd.testing.assert_frame_equal(first.segments, shuffled.segments)
    assert survivors(shuffled) == set(first.segments.segment_id[~first.segments.is_standing])
    assert len(survivors(grown)) >= 4  # of 6
    before, after = (one.segments.set_index("segment_id") for one in (first, grown))
    alike = [one for one in survivors(grown) if before.archetype[one] and before.archetype[one] == after.archetype[one]]
    assert alike and all(before["name"][one] == after["name"][one] for one in alike)


def test_another_seed_goes_on_from_the_champion(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    again = train(given.model_copy(update={"seed": 99}), sweep=False, progress=lambda step: None)
    assert survivors(again) == set(first.segments.segment_id[~first.segments.is_standing])
    told = [note for note in again.notes if "were fitted to today's customers" in note]
    assert [note.split(" were ")[0] for note in told] == [
        f"The champion's segments of {facet}" for facet in ("behaviour", "interest")
    ]


def test_the_line_goes_on_through_a_training_without_clusters(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    (behaviour, *_) = facets_of(given)
    by_rule = with_facets(given, [behaviour.with_settings(algorithm="rule")])
    of_behaviour = [row for row in first.lineage if row["facet"] == "behaviour"]
    found = train(by_rule, sweep=False, progress=lambda step: None)
    assert found.lineage[: len(of_behaviour)] == of_behaviour
    last = found.lineage[len(of_behaviour) :]
    assert {(row["verdict"], row["is_here"]) for row in last} == {("gone", False)}
    assert {row["segment_id"] for row in last} == {row["segment_id"] for row in of_behaviour}
