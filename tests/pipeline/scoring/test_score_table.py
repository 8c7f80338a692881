"""Scores do not depend on how customers are divided into batches."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult
from pipeline.config.params import Params
from pipeline.config.progress import SILENT


@pytest.mark.slow
def test_scores_are_the_same_in_batches_of_any_size(
    params: Callable[..., Params], champion: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with previous scores that hold some customers, who are then looked up batch by batch."""
    settings = params("score.hysteresis=0.3", "as_of=2025-11-20T00:00:00Z")
    out = settings.path(settings.outputs.scores)
    whole, sizes = [], (100_000, 333)
    for size in sizes:
        monkeypatch.setattr("pipeline.stores.database.BATCH_ROWS", size)
        out.unlink(missing_ok=True)
        score(params("as_of=2025-11-01T00:00:00Z"), model_uri=champion.model_uri, out=out, progress=SILENT)
        result = score(settings, model_uri=champion.model_uri, out=out, progress=SILENT)
        assert result.summary.held is not None and result.summary.held.customer_count > 0
        whole.append((out.read_bytes(), result.summary))
    assert whole[0] == whole[1]
    table = pq.read_table(out)
    assert table["customer_id"].type == pa.large_string()
    assert table["customer_id"].to_pylist() == sorted(table["customer_id"].to_pylist())
