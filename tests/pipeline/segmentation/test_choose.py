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
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation.choose import Chosen, choose_and_fit, is_to_choose, search_space
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.predictive_validity import Past
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from tests.pipeline.conftest import params_in

PARAMS = Path(__file__).parents[3] / "params.yaml"
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


def behaviour_of(given: Params) -> Facet:
    return facets_of(given)[0]


def interest_of(given: Params) -> Facet:
    return facets_of(given)[1]


def chosen(profiles: Profiles, earlier: list[Past], given: Params, starts: dict[str, Any] | None = None) -> Chosen:
    """What is chosen for the facet of behaviour."""
    facet = behaviour_of(given)
    return choose_and_fit(None, profiles, earlier, given, facet, starts or {}, sweep=False, progress=quiet)


def test_the_search_space_and_the_command_that_trains_a_candidate(params: Callable[..., Params]) -> None:
    given = params(
        *SMALL, "sweep.algorithm=[kmeans, hdbscan]", "facets.behaviour.try_block_weights=[{value: 2.0}, {value: 1.0}]"
    )
    facet = behaviour_of(given)
    plain = search_space(given, facet, sweep=False)
    # A balance that says what is given is no other.
    assert [(one.n_segments, one.balance_name()) for one in plain] == [
        *((3, "blocks as given"), (5, "blocks as given"), (3, "value 2"), (5, "value 2"))
    ]
    every = search_space(given, facet, sweep=True)
    assert every[:4] == plain
    assert {one.min_cluster_share for one in every[4:]} == {0.02, 0.05}
    for one in every:
        with_one = with_facets(given, [one.of(facet), interest_of(given)])
        assert trained_by(one.command(given, facet)).digest() == with_one.digest()


def test_interests_may_always_be_grouped_by_their_rule(params: Callable[..., Params]) -> None:
    """Where more than one algorithm is tried; its command leaves the other facet as it is."""
    given = params(
        *SMALL,
        "facets.interest.algorithm=auto",
        "facets.interest.n_segments=auto",
        "facets.interest.try_n_segments=[3, 4]",
    )
    facet = interest_of(given)
    found = search_space(given, facet, sweep=False)
    assert [(one.algorithm, one.n_segments) for one in found] == [("kmeans", 3), ("kmeans", 4), ("rule", None)]
    alone = search_space(given, facet.with_settings(algorithm="kmeans", n_segments=5), sweep=False)
    assert [(one.algorithm, one.n_segments) for one in alone] == [("kmeans", 5)]
    assert "rule" not in {one.algorithm for one in search_space(given, behaviour_of(given), sweep=True)}
    asked = trained_by(found[-1].command(given, facet))
    assert asked.digest() == with_facets(given, [behaviour_of(given), found[-1].of(facet)]).digest()


def trained_by(command: str) -> Params:
    """The parameters that ``kindred train`` is given by a command."""
    words = shlex.split(command)
    assert words[1:3] == ["train", "--params"]
    return load_params(Path(words[3]), [words[at + 1] for at, word in enumerate(words) if word == "--set"])


def test_when_there_is_something_to_choose(params: Callable[..., Params]) -> None:
    def is_open(*more: str, sweep: bool = False) -> list[bool]:
        return [is_to_choose(facet, sweep=sweep) for facet in facets_of(params(*more))]

    assert is_open("facets.behaviour.n_segments=auto") == [True, False]
    assert is_open("facets.behaviour.n_segments=8") == [False, False]
    assert is_open("facets.behaviour.n_segments=auto", "facets.behaviour.algorithm=hdbscan") == [False, False]
    assert is_open("facets.interest.algorithm=auto", "facets.interest.n_segments=4") == [False, True]
    assert is_open("facets.interest.algorithm=rule") == [False, False]
    assert is_open("facets.behaviour.n_segments=8", sweep=True) == [True, True]


def test_the_choice_is_made_on_earlier_cutoffs_told_and_kept(params: Callable[..., Params]) -> None:
    given = params(*SMALL)
    result = train(given, sweep=False, progress=quiet)
    mlflow = mlflow_runs.open_store(given)
    runs = mlflow.search_runs(experiment_names=["kindred"], output_format="list")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == result.run_id]
    assert len(children) == 4
    for run in children:
        assert {"score", "stability", "buys_auc", "smallest_count", "named_apart"} <= set(run.data.metrics)
        asked = trained_by(run.data.tags["command"])
        own = behaviour_of(asked).settings
        assert (own.algorithm, asked.source) == ("kmeans", given.source)
        assert run.data.tags["facet"] == "behaviour"
        assert own.n_segments == int(run.data.params["facets.behaviour.n_segments"])
    chosen = next(run for run in children if run.data.tags["is_chosen"] == "true")
    parent = mlflow.get_run(result.run_id)
    for key, value in chosen.data.params.items():
        assert float(parent.data.params[key]) == float(value) if value[0].isdigit() else True
    reason = next(note for note in result.notes if note.startswith("Of 4 candidates"))
    # Three cutoffs; the last is for the report alone.
    assert "2025-08-03 and" in reason and "2025-09-02" in reason and "2025-10-02" not in reason
    assert "fitted on 600 of" in reason and "2 resamples" in reason
    assert "4 settings were tried; the simplest one that was stable" in result.report_path.read_text()
    assert reason in result.as_text()
    assert result.candidates == ""
    names = {one.path for one in mlflow.MlflowClient().list_artifacts(result.run_id, "figures/behaviour")}
    assert "figures/behaviour/choice.png" in names
    table = json.loads(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/behaviour/candidates.json"))
    assert len(table["data"]) == 4


def test_a_sweep_tells_of_each_candidate(params: Callable[..., Params]) -> None:
    few = ("facets.behaviour.try_block_weights=[]", "facets.interest.try_n_segments=[4]", "quality.validity=false")
    given = params(*SMALL, *few, "facets.behaviour.n_segments=3")
    told = train(given, sweep=True, progress=quiet).as_text()
    tables = re.findall(r"Train (\w+) in full\n((?: .*kindred train --params .*\n)+)", told)
    commands = {
        facet: [trained_by(words) for words in re.findall(r"kindred train --params .*", lines)]
        for facet, lines in tables
    }
    assert {facet: len(found) for facet, found in commands.items()} == {"behaviour": 2, "interest": 2}
    assert {behaviour_of(one).settings.n_segments for one in commands["behaviour"]} == {3, 5}
    assert all(
        (behaviour_of(one).settings.algorithm, one.source) == ("kmeans", given.source) for one in commands["behaviour"]
    )
    assert {interest_of(one).settings.algorithm for one in commands["interest"]} == {"kmeans", "rule"}
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
    smallest = np.unique(
        cluster(few, given, behaviour_of(given).with_settings(n_segments=8)).labels, return_counts=True
    )[1].min()
    assert smallest < given.naming.min_group  # without the bound it would be so
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    for least, expected in ((None, given.naming.min_group), (60, 60), (138, 137)):
        quality = given.quality.model_copy(update={"min_segment_customers": least})
        asked = given.model_copy(update={"quality": quality})
        made = chosen(few, [], asked)
        assert np.unique(made.fitted.labels, return_counts=True)[1].min() >= expected
    assert made.fitted.n_segments == 1 and made.facet.settings.n_segments == 1
    assert "None of 6 candidates had 138 customers in every segment" in made.fitted.choice_reason
    alone = with_facets(asked, [behaviour_of(asked).with_settings(try_n_segments=[1])])
    assert chosen(few, [], alone).fitted.n_segments == 1


def test_the_champions_segments_go_on_where_they_are_large_enough(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """Also below the grid, as in a small shop; where they are not, fresh ones may be."""
    table = profiles.table[profiles.table.event_count >= 3].head(137).reset_index(drop=True)
    few = replace(profiles, table=table)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    smallest = {
        count: np.bincount(cluster(few, params(), behaviour_of(params()), n_segments=count).labels).min()
        for count in (2, 3)
    }
    assert smallest[2] > smallest[3]
    below: list[int] = []

    def counting(profiles: Profiles, params: Params, facet: Facet, **changes: Any) -> FittedClusters:
        below.extend(one for one in [int(facet.settings.n_segments)] if one < 3)
        return cluster(profiles, params, facet, **changes)

    monkeypatch.setattr("pipeline.segmentation.choose.cluster", counting)
    for count in (2, 3):
        given = params(
            *SMALL, "facets.behaviour.try_n_segments=[3]", f"quality.min_segment_customers={smallest[count]}"
        )
        fresh = chosen(few, [], given)
        assert fresh.fitted.n_segments == count
        assert below == [2] * (count == 2)  # once
        starts = {"The champion's segments": fresh.fitted.labels}
        again = chosen(few, [], given, starts)
        below.clear()
        assert any("champion's segments were fitted to today's customers" in note for note in again.fitted.notes)

    def one_alone(*given: Any, **changes: Any) -> FittedClusters:
        labels = np.minimum(np.arange(137), 2)
        return replace(
            cluster(*given, **changes),
            **({"labels": labels} if "The champion's segments" in changes.get("starts", {}) else {}),
        )

    monkeypatch.setattr("pipeline.segmentation.choose.cluster", one_alone)
    again = chosen(few, [], given, starts)
    assert np.array_equal(again.fitted.labels, fresh.fitted.labels)


def test_a_cutoff_of_a_young_shop_is_no_judge(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """When hardly anybody had done enough to be clustered: today there are plenty."""
    given = params(*SMALL)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    count = len(profiles.table)
    bought = np.arange(count) % 2 == 0
    outcomes = Outcomes(bought, bought * 9.0, np.empty((count, 0), dtype=bool))
    for clustered in (0, 3):
        table = profiles.table.assign(event_count=[*[9] * clustered, *[1] * (count - clustered)])
        young = Past(given.as_of, replace(profiles, table=table), outcomes, np.empty((count, 0)), np.empty((count, 0)))
        made = chosen(profiles, [young], given)
        assert "what they predicted was measured on" not in made.fitted.choice_reason
        assert all(one.candidate.buys_auc is None for one in made.tried)


def test_candidates_are_the_same_whatever_runs_beside_them(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    given = params(*SMALL)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    several = given.model_copy(update={"sweep": given.sweep.model_copy(update={"n_jobs": 2})})
    found = [[one.candidate for one in chosen(profiles, [], each).tried] for each in (given, several)]
    assert found[0] == found[1]


def test_auto_is_for_train_alone(params: Callable[..., Params], profiles: Profiles) -> None:
    given = params("facets.behaviour.n_segments=auto")
    with pytest.raises(UserError, match=r"facets\.behaviour: expected .* a number of segments; auto is for"):
        cluster(profiles, given, behaviour_of(given))
