"""A model with rates and activity as columns, from training to scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from features.profile import RATES, Column
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.stores import mlflow_runs, model_registry
from tests.segments import published_sizes

JOURNEY = "clustering.journey_columns=[activity, visits_per_week, days_since_last_event, days_from_first_to_last_event]"


def test_a_model_with_rates_scores_as_it_was_trained(params: Callable[..., Params], tmp_path: Path) -> None:
    settings = params(
        JOURNEY,
        "facets.behaviour.block_weights.value=1.0",
        "facets.behaviour.block_weights.rates=1.2",
        "facets.interest=null",
    )
    trained = train(settings, sweep=False, progress=SILENT)
    scores = score(settings, model_uri=trained.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    sizes = published_sizes(pd.read_parquet(scores.path).segment_id)
    own = trained.segments[trained.segments.facet == "behaviour"].set_index("segment_id")
    assert sizes == own.customer_count.to_dict()
    model = model_registry.load_model(mlflow_runs.open_store(settings), trained.model_uri)
    assert {name for pair in RATES.values() for name in pair} | {"activity"} <= set(model.columns)


def test_a_block_without_a_weight_is_left_out(params: Callable[..., Params]) -> None:
    (facet, *_) = facets_of(params("facets.behaviour.block_weights={interest: 1.0, value: 1.5}"))
    columns = [Column(name, block, "none", 0.0) for name, block in (("spend", "value"), ("orders_per_cart", "rates"))]
    assert facet.columns(columns) == columns[:1]
    with pytest.raises(UserError, match="greater than or equal to 0"):
        params("facets.behaviour.block_weights.rates=-1.0")
    with pytest.raises(UserError, match="a weight above 0 for at least one block"):
        params("facets.behaviour.block_weights={value: 0}")
