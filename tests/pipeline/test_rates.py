"""Rates and activity among the columns of a model, from training to scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from features.profile import RATES
from pipeline import registry, tracking
from pipeline.params import Params
from pipeline.params_of_segments import BlockWeights
from pipeline.score import score
from pipeline.train import train

JOURNEY = "clustering.journey_columns=[activity, visits_per_week, days_since_last_event, days_from_first_to_last_event]"


def quiet(step: str) -> None:
    """No progress."""


def test_a_model_with_rates_scores_as_it_was_trained(params: Callable[..., Params], tmp_path: Path) -> None:
    given = params(JOURNEY, "clustering.block_weights.value=1.0", "clustering.block_weights.rates=1.2")
    trained = train(given, sweep=False, progress=quiet)
    found = score(given, model_uri=trained.model_uri, out=tmp_path / "scores.parquet", progress=quiet)
    sizes = pd.read_parquet(found.path).segment_id.value_counts()
    assert sizes.to_dict() == trained.segments.set_index("segment_id").customer_count.to_dict()
    model = registry.load_model(tracking.open_store(given), trained.model_uri)
    assert {name for pair in RATES.values() for name in pair} | {"activity"} <= set(model.columns)


def test_models_from_before_there_were_rates_have_none() -> None:
    weights = {"interest": 1.0, "value": 1.5, "journey": 1.0, "context": 0.25, "benefits": 0.25}
    assert BlockWeights(**weights).rates == 0.0
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        BlockWeights(**weights, rates=-1.0)
