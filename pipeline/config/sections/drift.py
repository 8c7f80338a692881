"""Section `drift` of params.yaml: when a model no longer fits its customers."""

from __future__ import annotations

from pydantic import model_validator

from pipeline.config.types import NonNegative, Section


class DriftLimit(Section):
    """From which figure on to watch, and to train again."""

    watch: NonNegative
    train_again: NonNegative

    @model_validator(mode="after")
    def _in_order(self) -> DriftLimit:
        if self.watch > self.train_again:
            raise ValueError(f"expected watch at most train_again, got {self.watch:g} and {self.train_again:g}")
        return self


class DriftParams(Section):
    """Limits of `kindred drift`. Older models have no such section in their params."""

    columns: DriftLimit = DriftLimit(watch=0.1, train_again=0.25)
    segment_sizes: DriftLimit = DriftLimit(watch=0.1, train_again=0.25)
    recent_activity: DriftLimit = DriftLimit(watch=0.1, train_again=0.25)
    moved_share: DriftLimit = DriftLimit(watch=0.2, train_again=0.4)
    new_category_share: DriftLimit = DriftLimit(watch=0.05, train_again=0.2)
    validity_loss: DriftLimit = DriftLimit(watch=0.02, train_again=0.05)
