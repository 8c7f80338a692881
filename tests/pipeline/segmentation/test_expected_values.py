"""The expected value in training: fitted on all cutoffs, judged on the last by a fit on those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.disclosure import rounded_count, rounded_measure
from models.expected_value import fit_expected_value
from models.scorer import EXPECTED_VALUE, expected_value
from models.value_quality import value_figures
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.scoring.score_table import APPENDED_COLUMNS, FROM_PROFILE, score_table
from pipeline.segmentation.expected_values import fit_expected_values, past_outcomes
from pipeline.segmentation.predictive_validity import CutoffData, build_cutoffs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.model_files import LoadedModel
from tests.pipeline.conftest import params_in

SETTINGS = ("quality.validity=true", "backtest.cutoffs=2")


@pytest.fixture(scope="module")
def cutoffs(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> list[CutoffData]:
    params = params_in(tmp_path_factory.mktemp("cutoffs"), shop, *SETTINGS)
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        source = read_source(con, params, rejected_path=None)
        return build_cutoffs(DuckDB(con), source, params, last_only=False, progress=SILENT)[0]


def with_buyers(cutoff: CutoffData, count: int) -> CutoffData:
    """The cutoff with exactly ``count`` buyers, the most active customers."""
    bought = np.zeros(len(cutoff.outcomes.bought), dtype=bool)
    bought[np.argsort(-cutoff.profiles.table.activity.to_numpy(), kind="stable")[:count]] = True
    outcomes = replace(cutoff.outcomes, bought=bought, spend=np.where(bought, 10.0, 0.0))
    return replace(cutoff, outcomes=outcomes, seen=cutoff.seen | bought)


def test_figures_are_of_a_fit_that_has_not_seen_the_last_cutoff(
    params: Callable[..., Params], cutoffs: list[CutoffData]
) -> None:
    config, many = params(*SETTINGS), [with_buyers(cutoff, 200) for cutoff in cutoffs]
    value = fit_expected_values(many, config)
    past = [past_outcomes(cutoff) for cutoff in many]
    assert value.model == fit_expected_value(past, seed=config.seed)
    earlier = fit_expected_value(past[:1], seed=config.seed)
    exact = value_figures(expected_value(past[1].profile, earlier), past[1])
    assert value.figures == {name: rounded_measure(figure, 200, 10) for name, figure in exact.items()} != exact
    assert value.metrics()["value/buy_auc"] == value.figures["buy_auc"] > 0.9
    assert value.note == ""


def test_amounts_that_were_far_off_are_pointed_out(params: Callable[..., Params], cutoffs: list[CutoffData]) -> None:
    many = [with_buyers(cutoff, 200) for cutoff in cutoffs]
    outcomes = replace(many[-1].outcomes, spend=many[-1].outcomes.spend * 10)
    value = fit_expected_values([*many[:-1], replace(many[-1], outcomes=outcomes)], params(*SETTINGS))
    assert value.figures["spend_total_error"] < -0.8
    assert value.note.startswith("Warning: expected_spend ranks customers, but its amounts are unreliable")
    assert f"expected {1 + value.figures['spend_total_error']:.0%} of what was spent" in value.note


def test_a_note_says_that_too_few_customers_bought(params: Callable[..., Params], cutoffs: list[CutoffData]) -> None:
    config = params(*SETTINGS)
    value = fit_expected_values([with_buyers(cutoff, 49) for cutoff in cutoffs], config)
    assert value.model is None and value.metrics() == {}
    assert "expected" in value.note and "at least 50 customers who bought in the 30 days" in value.note
    known = rounded_count(len(cutoffs[-1].seen), config.naming.min_group)
    assert f"At the last, 50 of {known:,} bought" in value.note and "backtest.horizon_days" in value.note
    assert fit_expected_values([], config).note == ""


def test_one_cutoff_fits_without_figures(params: Callable[..., Params], cutoffs: list[CutoffData]) -> None:
    value = fit_expected_values([with_buyers(cutoffs[-1], 200)], params(*SETTINGS))
    assert value.model is not None
    assert value.figures == {} and value.note == ""


def test_scores_have_the_columns_even_if_the_model_does_not_know_them(params: Callable[..., Params]) -> None:
    columns: dict[str, Any] = {name: [1.0, 2.0] for name in (*FROM_PROFILE, *APPENDED_COLUMNS)}
    lists = {"top_categories": [["Cats"], []], "journey_events": [[], []]}
    profiles = pa.table({"customer_id": ["a", "b"], **columns, **lists})
    predicted = pd.DataFrame({"segment_id": ["s01", "s02"], "interest_segment_id": ["i01", "i02"]})
    model = LoadedModel("models:/kindred/1", "run", [], {}, None, Path())
    unknown = score_table(profiles, predicted, params(), model)
    known = score_table(profiles, predicted.assign(**dict.fromkeys(EXPECTED_VALUE, 0.5)), params(), model)
    assert unknown.schema == known.schema
    assert unknown.column_names[-4:] == [*EXPECTED_VALUE, "interest_segment_id"]
    assert all(unknown[name].null_count == 2 for name in EXPECTED_VALUE)
    assert known["expected_spend"].to_pylist() == [0.5, 0.5]
