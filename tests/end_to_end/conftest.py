"""The shop and the trainings of the tests of the pipeline, for whole runs, too."""

from __future__ import annotations

from tests.pipeline.conftest import (
    champion,
    champion_and_challenger,
    first_training,
    params,
    shop,
    trained,
    two_trainings,
)

__all__ = ["champion", "champion_and_challenger", "first_training", "params", "shop", "trained", "two_trainings"]
