"""The registered model: what its signature promises."""

from __future__ import annotations

import pandas as pd
from mlflow.models import infer_signature

from pipeline.stores.model_registry import with_optional_outputs


def test_columns_that_may_be_null_are_optional_in_the_signature() -> None:
    optional = [
        "strength",
        "next_segment",
        "is_stable",
        "interest_margin",
        "is_interest_stable",
        "next_interest_segment",
    ]
    always = ["segment_id", "interest_segment", "is_border", "is_interest_border", "evidence", "interest_evidence"]
    predicted = pd.DataFrame({name: pd.Series(dtype="str") for name in [*always, *optional]})
    signature = with_optional_outputs(infer_signature(predicted, predicted))
    assert [column.name for column in signature.outputs if column.required] == always
    assert [column.name for column in signature.outputs] == [*always, *optional]
