"""Figures of a run show groups of customers, and nobody alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.report.plots import customer_map


@pytest.mark.parametrize(("min_group", "cells"), [(1, 3), (10, 2), (20, 1), (50, 0)])
def test_a_map_has_cells_of_many_customers_and_no_dots(min_group: int, cells: int) -> None:
    names = {"s01": 40, "s02": 12, "s03": 3, "standing-1": 200}
    corners = np.array([[0.0, 0.0], [90.0, 0.0], [0.0, 70.0], [500.0, 500.0]])
    segments: Any = [
        SimpleNamespace(segment_id=name, name=name, is_stable=True, is_standing="standing" in name, is_small=False)
        for name in names
    ]
    ids = np.repeat(np.array([*names], dtype=object), [*names.values()])
    figure = customer_map(segments, np.repeat(corners, [*names.values()], axis=0), ids, min_group=min_group, seed=0)
    (drawn,) = figure.axes[0].collections
    assert sorted(drawn.get_array().tolist()) == [*range(cells)]  # each has the colour of its segment
