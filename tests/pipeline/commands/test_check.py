"""What `kindred check` says of a training before there is one."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from models.disclosure import rounded_count
from pipeline.commands.check import check
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT

NOT_CLUSTERED = re.compile(r"([\d,]+) of ([\d,]+) customers \(\d+%\) are not clustered by behaviour")


def counts_in(text: str) -> list[int]:
    found = NOT_CLUSTERED.search(text)
    assert found
    return [int(count.replace(",", "")) for count in found.groups()]


def test_customers_are_counted_as_in_training(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    text = check(params, progress=SILENT)
    assert f"fewer than 3 events in the {params.history_days:g} days before as_of (history_days)" in text
    min_group = params.naming.min_group
    assert [rounded_count(count, min_group) for count in counts_in(text)] == counts_in("\n".join(result.notes))
    assert "would refuse" not in text


@pytest.mark.parametrize("more", ["minimum.customers=100000", "minimum.orders=1000000", "as_of=2027-01-31T00:00:00Z"])
def test_what_training_would_refuse_is_a_warning(params: Callable[..., Params], more: str) -> None:
    with pytest.raises(UserError) as refused:
        train(params(more), sweep=False, progress=SILENT)
    assert f"Warning: `kindred train` would refuse this log: {refused.value}" in check(params(more), progress=SILENT)
