"""Section of params.yaml for customers far beyond all others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from features.outliers import Measure
from pipeline.config.types import Positive, Section, Share


class OutlierParams(Section):
    """Unusual customers, and what is done with them. The ``limits`` found in training are saved with the model."""

    action: Literal["warn", "cap", "own_segment", "exclude"] = "warn"
    min_share: Share = 0.005
    min_ratio: Annotated[float, Field(ge=1)] = 10.0
    limits: dict[Measure, Positive] = Field(default_factory=dict)
