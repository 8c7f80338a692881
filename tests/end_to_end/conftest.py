"""The shop and trainings of the pipeline tests, shared with the end-to-end tests."""

from __future__ import annotations

from tests.pipeline.conftest import (
    champion,
    champion_and_challenger,
    first_training,
    params,
    scored,
    shop,
    trained,
    two_trainings,
)

__all__ = [
    "champion",
    "champion_and_challenger",
    "first_training",
    "params",
    "scored",
    "shop",
    "trained",
    "two_trainings",
]
