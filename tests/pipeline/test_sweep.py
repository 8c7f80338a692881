"""The choice of settings: what is tried, what is taken, and what is told and kept of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.segmentation import FittedClusters
from models.validity import Outcomes
from pipeline import tracking
from pipeline.clusters import cluster
from pipeline.engines import connect
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.params_file import load_params
from pipeline.profiles import Profiles, build_profiles
from pipeline.sources import read_source
from pipeline.sweep import choose_and_fit, grid, is_to_choose
from pipeline.train import train
from pipeline.validity import Past
from tests.pipeline.conftest import params_in

PARAMS = Path(__file__).parents[2] / "params.yaml"
SMALL = (
    *(
        "quality.validity=true",
        "facets.behaviour.n_segments=auto",
        "facets.behaviour.try_n_segments=[3, 5]",
        "facets.behaviour.try_block_weights=[{value: 2.0}]",
        "sweep.resamples=2",
    ),
    *("sweep.sample_customers=600", "sweep.n_jobs=1", "backtest.bootstrap_resamples=10", "sweep.algorithm=[kmeans]"),
)


def quiet(step: str) -> None:
    """No progress."""


def test_the_grid_and_the_command_that_trains_a_candidate(params: Callable[..., Params]) -> None:
    given = params(
        *SMALL, "sweep.algorithm=[kmeans, hdbscan]", "facets.behaviour.try_block_weights=[{value: 2.0}, {value: 1.5}]"
    )
    plain = grid(given, sweep=False)
    # A balance that says what is given is no other.
    assert [(one.n_segments, one.balance_name()) for one in plain] == [
        *((3, "blocks as given"), (5, "blocks as given"), (3, "value 2"), (5, "value 2"))
    ]
    every = grid(given, sweep=True)
    assert every[:4] == plain
    assert {one.min_cluster_share for one in every[4:]} == {0.02, 0.05}
    for one in every:
        assert trained_by(one.command(given)).digest() == one.of(given).digest()


def trained_by(command: str) -> Params:
    """The parameters that ``kindred train`` is given by a command."""
    words = shlex.split(command)
    assert words[1:3] == ["train", "--params"]
    return load_params(Path(words[3]), [words[at + 1] for at, word in enumerate(words) if word == "--set"])


def test_when_there_is_something_to_choose(params: Callable[..., Params]) -> None:
    assert is_to_choose(params("facets.behaviour.n_segments=auto"), sweep=False)
    assert not is_to_choose(params("facets.behaviour.n_segments=8"), sweep=False)
    assert not is_to_choose(
        params("facets.behaviour.n_segments=auto", "facets.behaviour.algorithm=hdbscan"), sweep=False
    )
    assert is_to_choose(params("facets.behaviour.n_segments=8"), sweep=True)


def test_the_choice_is_made_on_earlier_cutoffs_told_and_kept(params: Callable[..., Params]) -> None:
    given = params(*SMALL)
    result = train(given, sweep=False, progress=quiet)
    mlflow = tracking.open_store(given)
    runs = mlflow.search_runs(experiment_names=["kindred"], output_format="list")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == result.run_id]
    assert len(children) == 4
    for run in children:
        assert {"score", "stability", "buys_auc", "smallest_count", "named_apart"} <= set(run.data.metrics)
        asked = trained_by(run.data.tags["command"])
        assert (asked.facets.behaviour.algorithm, asked.source) == ("kmeans", given.source)
        assert asked.facets.behaviour.n_segments == int(run.data.params["facets.behaviour.n_segments"])
    chosen = next(run for run in children if run.data.tags["is_chosen"] == "true")
    parent = mlflow.get_run(result.run_id)
    for key, value in chosen.data.params.items():
        assert float(parent.data.params[key]) == float(value) if value[0].isdigit() else True
    reason = next(note for note in result.notes if note.startswith("Of 4 candidates"))
    # Three cutoffs; the last is for the report alone.
    assert "2025-08-03 and" in reason and "2025-09-02" in reason and "2025-10-02" not in reason
    assert "fitted on 600 of" in reason and "2 resamples" in reason
    assert "4 settings were tried. The simplest was taken" in result.report_path.read_text()
    assert reason in result.as_text()
    assert result.candidates == ""
    names = {one.path for one in mlflow.MlflowClient().list_artifacts(result.run_id, "figures")}
    assert "figures/choice.png" in names
    table = json.loads(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/candidates.json"))
    assert len(table["data"]) == 4


def test_a_sweep_tells_of_each_candidate(params: Callable[..., Params]) -> None:
    given = params(*SMALL, "facets.behaviour.try_block_weights=[]", "quality.validity=false")
    told = train(given, sweep=True, progress=quiet).as_text()
    commands = [trained_by(words) for words in re.findall(r"kindred train --params .*", told)]
    assert {one.facets.behaviour.n_segments for one in commands} == {3, 5} and len(commands) == 2
    assert all((one.facets.behaviour.algorithm, one.source) == ("kmeans", given.source) for one in commands)
    assert "best silhouette" in told


def profiles_of(given: Params) -> Profiles:
    with connect(given.engine, folder=given.path(given.outputs.folder)) as con:
        return replace(build_profiles(con, read_source(con, given, rejected_path=None), given), said=None)


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Profiles:
    return profiles_of(params_in(tmp_path_factory.mktemp("profiles"), shop, *SMALL))


def test_no_choice_has_a_segment_of_a_few_customers(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """On 137 customers, six of whom are like nobody else."""
    given = params(*SMALL, "facets.behaviour.try_n_segments=[3, 8, 12]")
    table = profiles.table[profiles.table.event_count >= 3].head(137).reset_index(drop=True)
    table.loc[:5, ["spend", "order_count"]] = 1e9
    few = replace(profiles, table=table)
    smallest = np.unique(cluster(few, given, n_segments=8).labels, return_counts=True)[1].min()
    assert smallest < given.naming.min_group  # without the bound it would be so
    monkeypatch.setattr("pipeline.sweep.log_candidates", lambda *_: None)
    for least, expected in ((None, given.naming.min_group), (60, 60), (138, 137)):
        quality = given.quality.model_copy(update={"min_segment_customers": least})
        asked = given.model_copy(update={"quality": quality})
        made = choose_and_fit(None, few, [], asked, {}, sweep=False, progress=quiet)
        assert np.unique(made.fitted.labels, return_counts=True)[1].min() >= expected
    assert made.fitted.n_segments == 1 and made.params.facets.behaviour.n_segments == 1
    assert "None of 6 candidates had 138 customers in every segment" in made.fitted.choice_reason
    alone = asked.model_copy(update={"sweep": asked.sweep.model_copy(update={"n_segments": [1]})})
    assert choose_and_fit(None, few, [], alone, {}, sweep=False, progress=quiet).fitted.n_segments == 1


def test_the_champions_segments_go_on_where_they_are_large_enough(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """Also below the grid, as in a small shop; where they are not, fresh ones may be."""
    table = profiles.table[profiles.table.event_count >= 3].head(137).reset_index(drop=True)
    few = replace(profiles, table=table)
    monkeypatch.setattr("pipeline.sweep.log_candidates", lambda *_: None)
    smallest = {count: np.bincount(cluster(few, params(), n_segments=count).labels).min() for count in (2, 3)}
    assert smallest[2] > smallest[3]
    below: list[int] = []

    def counting(profiles: Profiles, params: Params, **changes: Any) -> FittedClusters:
        below.extend(one for one in [int(params.facets.behaviour.n_segments)] if one < 3)
        return cluster(profiles, params, **changes)

    monkeypatch.setattr("pipeline.sweep.cluster", counting)
    for count in (2, 3):
        given = params(
            *SMALL, "facets.behaviour.try_n_segments=[3]", f"quality.min_segment_customers={smallest[count]}"
        )
        fresh = choose_and_fit(None, few, [], given, {}, sweep=False, progress=quiet)
        assert fresh.fitted.n_segments == count
        assert below == [2] * (count == 2)  # once
        starts = {"The champion's segments": fresh.fitted.labels}
        again = choose_and_fit(None, few, [], given, starts, sweep=False, progress=quiet)
        below.clear()
        assert any("champion's segments were fitted to today's customers" in note for note in again.fitted.notes)

    def one_alone(*given: Any, **changes: Any) -> FittedClusters:
        labels = np.minimum(np.arange(137), 2)
        return replace(
            cluster(*given, **changes),
            **({"labels": labels} if "The champion's segments" in changes.get("starts", {}) else {}),
        )

    monkeypatch.setattr("pipeline.sweep.cluster", one_alone)
    again = choose_and_fit(None, few, [], given, starts, sweep=False, progress=quiet)
    assert np.array_equal(again.fitted.labels, fresh.fitted.labels)


def test_a_cutoff_of_a_young_shop_is_no_judge(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """When hardly anybody had done enough to be clustered: today there are plenty."""
    given = params(*SMALL)
    monkeypatch.setattr("pipeline.sweep.log_candidates", lambda *_: None)
    count = len(profiles.table)
    bought = np.arange(count) % 2 == 0
    outcomes = Outcomes(bought, bought * 9.0, np.empty((count, 0), dtype=bool))
    for clustered in (0, 3):
        table = profiles.table.assign(event_count=[*[9] * clustered, *[1] * (count - clustered)])
        young = Past(given.as_of, replace(profiles, table=table), outcomes, np.empty((count, 0)), np.empty((count, 0)))
        made = choose_and_fit(None, profiles, [young], given, {}, sweep=False, progress=quiet)
        assert "what they foretell was measured on" not in made.fitted.choice_reason
        assert all(one.candidate.buys_auc is None for one in made.tried)


def test_candidates_are_the_same_whatever_runs_beside_them(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    given = params(*SMALL)
    monkeypatch.setattr("pipeline.sweep.log_candidates", lambda *_: None)
    several = given.model_copy(update={"sweep": given.sweep.model_copy(update={"n_jobs": 2})})
    found = [
        [one.candidate for one in choose_and_fit(None, profiles, [], one, {}, sweep=False, progress=quiet).tried]
        for one in (given, several)
    ]
    assert found[0] == found[1]


def test_auto_is_for_train_alone(params: Callable[..., Params], profiles: Profiles) -> None:
    given = params("facets.behaviour.n_segments=auto")
    with pytest.raises(UserError, match=r"clustering\.n_segments: expected a number, got auto"):
        cluster(profiles, given)
