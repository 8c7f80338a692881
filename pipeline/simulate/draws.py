"""Random draws shared by the simulation, all vectorised over customers or events."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]


def choose(generator: np.random.Generator, cumulative: Floats) -> Ints:
    """Draw a column for each row of cumulative shares (n, m), whose last value is 1."""
    chosen = (generator.random(len(cumulative))[:, None] >= cumulative).sum(axis=1)
    return np.asarray(np.minimum(chosen, cumulative.shape[1] - 1), dtype=np.int64)


def chance(generator: np.random.Generator, chances: Floats) -> Flags:
    """True with the probability of each row."""
    return generator.random(len(chances)) < chances


def jitter(generator: np.random.Generator, mean: Floats, *, strength: float = 14.0) -> Floats:
    """Individual probabilities from a Beta distribution around ``mean``; 0 stays 0."""
    drawn = generator.beta(np.maximum(mean * strength, 1e-6), np.maximum((1.0 - mean) * strength, 1e-6))
    return np.where(mean > 0.0, drawn, 0.0)


def scale_odds(chances: Floats, factor: Floats) -> Floats:
    """Probabilities with their odds multiplied by ``factor``."""
    return chances * factor / (1.0 - chances + chances * factor)


def place_in_group(counts: Ints) -> Ints:
    """0, 1, 2, ... within each group of ``counts`` rows."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def cumulative_shares(weights: Floats) -> Floats:
    """Cumulative shares along the last axis."""
    total = np.cumsum(weights, axis=-1)
    return np.asarray(total / total[..., -1:])
