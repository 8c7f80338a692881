"""Profiles with the champion's columns, and the ids and lineage of segments over several trainings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from models.name_continuity import ManualName
from models.segment_names import Naming, SegmentNames
from models.segmentation import FittedClusters
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.segmentation.descriptions.names import inherit_names
from pipeline.segmentation.lineage import LineageRow, earlier_lineage, identify, with_model_columns, with_names
from pipeline.stores import mlflow_runs
from pipeline.stores.mlflow_runs import LINEAGE
from tests.segments import segment_of


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
    converted = with_model_columns(today, columns)[columns]
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
        with_model_columns(today, ["interest: Toys", "interest: Cars", "interest: Books"])


def row(run_id: str, segment_id: str, *, is_here: bool = True, **more: Any) -> LineageRow:
    return LineageRow("2025-11-01 00:00", run_id, "behaviour", segment_id, "new", is_here, None, (), **more)


def test_only_rows_of_the_last_training_get_new_names() -> None:
    rows = [row("a", "s01", name="Old"), row("b", "s01"), row("b", "s02", is_here=False)]
    names = SegmentNames({"en": "New", "sq": "I ri"})
    named = with_names(rows, [segment_of("s01").with_names(names)], "en")
    assert [row.name for row in named] == ["Old", "New", None]
    assert named[1].names == {"en": "New", "sq": "I ri"}
    assert [row.name for row in with_names(rows, [segment_of("s01").with_names(names)], "sq")] == ["Old", "I ri", None]
    assert with_names([], [], "en") == ()


def test_a_row_of_lineage_is_read_as_it_was_written() -> None:
    """Earlier versions have names in one language only."""
    written = {
        "as_of": "2025-11-01 00:00",
        "run_id": "a",
        "facet": "behaviour",
        "segment_id": "s03",
        "verdict": "split",
    }
    written |= {"is_here": True, "jaccard": None, "related": ["s01", "s02"], "name": "Lost"}
    read = LineageRow.from_dict(written)
    assert read.related == ("s01", "s02") and list(read.as_dict()) == list(written) and read.as_dict() == written


def test_a_run_whose_lineage_an_earlier_version_wrote_is_continued(
    params: Callable[..., Params], champion: TrainingResult
) -> None:
    config, first = params(), champion
    store = mlflow_runs.open_store(config)
    rows = [
        {**{key: value for key, value in row.items() if key != "related"}, "akin": row["related"]}
        for row in first.lineage
    ]
    store.client.log_text(first.run_id, json.dumps(rows), LINEAGE)
    assert mlflow_runs.read_lineage(store, first.run_id, LINEAGE) == first.lineage
    (facet, *_) = facets_of(config)
    earlier, damage = earlier_lineage(store, first.run_id, facet)
    assert (list(earlier), damage) == (
        [LineageRow.from_dict(row) for row in first.lineage if row["facet"] == facet.name],
        "",
    )


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
    assert [row.segment_id for row in identity.lineage] == ["s01", "s02"]
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


def test_segments_survive_more_customers(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    """That shuffled rows change nothing is tested with the model's files."""
    events = pq.read_table(shop / "events")
    ids = sorted(set(events["customer_id"].to_pylist()) - {None})
    held_back = pa.array(ids[::10])
    few = events.filter(pc.invert(pc.is_in(events["customer_id"], held_back)))
    for name, table in (("few", few), ("all", events)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    config = params()

    def trained_on(name: str) -> TrainingResult:
        path = str(tmp_path / f"{name}.parquet")
        source = config.source.model_copy(update={"events": config.source.events.model_copy(update={"path": path})})
        return train(config.model_copy(update={"source": source}), sweep=False, progress=SILENT)

    first, grown = trained_on("few"), trained_on("all")
    assert len(survivors(grown)) >= 4  # of 6
    before, after = (trained.segments.set_index("segment_id") for trained in (first, grown))
    same_archetype = [
        segment_id
        for segment_id in survivors(grown)
        if before.archetype[segment_id] and before.archetype[segment_id] == after.archetype[segment_id]
    ]
    assert same_archetype
    assert all(before["name"][segment_id] == after["name"][segment_id] for segment_id in same_archetype)


def test_another_seed_continues_the_champions_segments(
    champion_and_challenger: tuple[TrainingResult, TrainingResult],
) -> None:
    first, again = champion_and_challenger
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


def test_a_manual_name_is_inherited_only_if_it_is_clear_by_which_segment(params: Callable[..., Params]) -> None:
    def lost(segment_id: str, name: str, archetype: str) -> ManualName:
        return ManualName(segment_id, name, Naming(SegmentNames({"en": archetype}), archetype), ())

    named = {
        segment_id: Naming(SegmentNames({"en": f"{archetype} {segment_id}"}), archetype)
        for segment_id, archetype in (("s07", "vip"), ("s08", "lost"), ("s09", "lost"), ("s10", "new"))
    }
    lost_names = [
        *(lost("s01", "Our gold", "vip"), lost("s02", "Our past", "lost"), lost("s03", "Our dreamers", "glance")),
        *(lost("s04", "Our babies", "new"), lost("s05", "Our sprouts", "new")),  # both would fit s10
    ]
    inherited, notes = inherit_names(lost_names, named, set(named), params())
    assert inherited == {"s07": "Our gold"}
    assert notes[0] == "s07 continues s01, so it is called 'Our gold', as given by hand."
    assert "s08 (lost s08), s09 (lost s09) could have it" in notes[1] and "rename s08 'Our past'" in notes[1]
    assert "no new segment is like it" in notes[2] and "rename SEGMENT 'Our dreamers'" in notes[2]
    assert all(note.startswith("Warning: ") for note in notes[1:]) and "s10 (new s10)" in notes[3] and "s10" in notes[4]
