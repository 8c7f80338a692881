"""Scores treat unusual customers by the rule, and the limits, that the model was trained with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.explain import explain
from pipeline.commands.history import history
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.stores.mlflow_runs import open_store
from pipeline.stores.model_registry import load_model
from tests.pipeline.conftest import ADDED


def scores_of(params: Params, name: str, *, update: bool = False) -> pd.DataFrame:
    out = params.folder / params.outputs.folder / f"{name}.parquet"
    score(params, model_uri=params.tracking.champion_uri, out=out, progress=SILENT, update=update)
    return pd.read_parquet(out).set_index("customer_id")


def known_to_history(params: Params) -> set[str]:
    out, since = params.path(params.outputs.folder) / "history.parquet", params.as_of - timedelta(days=40)
    history(params, model_uri=params.tracking.champion_uri, out=out, every="month", since=since, progress=SILENT)
    return set(pd.read_parquet(out).customer_id)


@pytest.mark.parametrize("action", ["cap", "own_segment", "exclude"])
def test_an_update_treats_them_as_a_scoring_in_full(
    action: str, params: Callable[..., Params], disturbed_shop: Path
) -> None:
    events = f"source.events.path={disturbed_shop / 'events'}"
    facets = ("facets.behaviour.n_segments=10", *([] if action == "own_segment" else ["facets.interest=null"]))
    own = params(events, f"outliers.action={action}", *facets)
    result = train(own, sweep=False, progress=SILENT)
    assert any("fewer than 10 customers are far beyond all others" in note for note in result.notes)
    assert not [name for name in ADDED if any(name in note for note in result.notes)]
    # Other settings today change nothing: the model has its own.
    later = params(events, "outliers.action=warn", *facets)
    scores_of(later, "scores", update=True)
    later = later.model_copy(update={"as_of": later.as_of + timedelta(days=3)})
    updated, full = scores_of(later, "scores", update=True), scores_of(later, "full")
    pd.testing.assert_frame_equal(updated, full, rtol=1e-9)
    found = full.reindex(ADDED).dropna(subset="segment")
    if action == "exclude":
        assert found.empty
        assert not set(ADDED) & known_to_history(own)
        with pytest.raises(UserError, match="far beyond all others"):
            explain(own, customer="monitor", category=None, model_uri=own.tracking.champion_uri, progress=SILENT)
    elif action == "own_segment":
        assert set(found.segment) == set(found.interest_segment) == {"Unusual customers"}
        assert set(found.evidence) == set(found.lifecycle_stage) == {"unusual"}
        assert found[["cluster_id", "strength", "next_segment"]].isna().all(axis=None)
        row = result.segments.set_index("segment_id").loc["standing-unusual"].iloc[0]
        assert row["names"]["uk"] == "Нетипові клієнти"
    else:
        assert found.cluster_id.notna().all()
        assert found.spend["wholesale0"] > 200_000  # scores show what they really paid
        assert load_model(open_store(own), own.tracking.champion_uri).columns[-1] == "is_unusual"
