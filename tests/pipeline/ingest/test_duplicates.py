"""Rows that repeat others: in every column, by event_id, or within seconds; and what `--update` reads of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.duplicates import retry_warnings
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from tests.conftest import PARAMS

START = datetime(2025, 10, 1)


@pytest.fixture
def params(tmp_path: Path) -> Callable[..., Params]:
    """Parameters that read `log.parquet`."""
    settings = (
        f"source.events.path={tmp_path / 'log.parquet'}",
        "source.products=null",
        "source.customers=null",
        f"outputs.folder={tmp_path / 'outputs'}",
    )
    return lambda *more: load_params(PARAMS, [*settings, *more])


def write_log(params: Params, seconds: list[float], **columns: Any) -> None:
    """One purchase for each second after `START`."""
    frame = pd.DataFrame(
        {"customer_id": "a", "event_type": "purchase", "product_id": "p", "unit_price": 5.0, "order_id": "o"}
        | {"occurred_at": [START + timedelta(seconds=second) for second in seconds]}
        | columns
    )
    frame.to_parquet(params.path(params.source.events.path), coerce_timestamps="us")


def read(params: Params, *, since: datetime | None = None) -> tuple[list[float], int]:
    """Seconds of the events that were kept, and the number of repeats."""
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        source = read_source(con, params, rejected_path=None, since=since)
        times = source.events.order_by("occurred_at").to_pandas().occurred_at
        return ((times - START) / pd.Timedelta(seconds=1)).tolist(), source.summary.duplicate_count


@pytest.mark.parametrize(
    ("how", "kept", "repeats"),
    [
        ("false", [0, 0, 5, 15, 26], 1),
        ("true", [0, 5, 15, 26], 1),
        ("10", [0, 26], 3),  # 15 is 10 seconds after 5, which is itself left out
        ("4.5", [0, 5, 15, 26], 1),
        ("event_id", [0, 5, 26], 2),
    ],
)
def test_each_way_to_drop_repeats(params: Callable[..., Params], how: str, kept: list[float], repeats: int) -> None:
    own = params(f"source.drop_duplicates={how}")
    write_log(own, [0, 0, 5, 15, 26], event_id=["x", "x", "y", "x", "z"])
    assert read(own) == (kept, repeats)


def test_seconds_compare_all_other_columns(params: Callable[..., Params]) -> None:
    own = params("source.drop_duplicates=10")
    write_log(own, [0, 1, 2, 3], order_id=["o", "o", "other", "o"], unit_price=[5.0, 6.0, 5.0, 5.0])
    assert read(own) == ([0, 1, 2], 1)


def test_rows_without_an_event_id_are_compared_as_a_whole(params: Callable[..., Params]) -> None:
    own = params("source.drop_duplicates=event_id", "source.events.columns={event_id: uuid}")
    write_log(own, [0, 1, 1, 2], uuid=["x", None, "", "x"])
    assert read(own) == ([0, 1], 2)


def test_an_event_id_that_is_not_there(params: Callable[..., Params]) -> None:
    own = params("source.drop_duplicates=event_id")
    write_log(own, [0])
    with pytest.raises(SourceError, match=r"column event_id.*source\.events\.columns: \{event_id: \.\.\.\}"):
        read(own)


@pytest.mark.parametrize("how", ["order_id", "-1"])
def test_an_unknown_way(params: Callable[..., Params], how: str) -> None:
    with pytest.raises(ParamsError, match=r"source\.drop_duplicates"):
        params(f"source.drop_duplicates={how}")


@pytest.mark.parametrize("how", ["true", "5", "event_id"])
@pytest.mark.parametrize("seed", range(3))
def test_an_update_keeps_what_a_reading_in_full_keeps(params: Callable[..., Params], how: str, seed: int) -> None:
    """Repeats lie on both sides of the moment from which an update reads the log again."""
    own, draw = params(f"source.drop_duplicates={how}"), np.random.default_rng(seed)
    seconds, ids = np.sort(draw.integers(0, 300, 120)).astype(float), [f"e{number}" for number in range(90)]
    write_log(own, seconds.tolist(), event_id=draw.choice(ids, 120), order_id=draw.choice(["o", "q"], 120))
    since = START + timedelta(seconds=150)
    in_full, repeats = read(own)
    updated, _ = read(own, since=since)
    assert len(updated) > 10
    assert repeats > 10
    assert [second for second in in_full if second < 150] + updated == in_full


def warnings_of(params: Params) -> list[str]:
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        return retry_warnings(read_source(con, params, rejected_path=None).events, params)


def test_retried_purchases_are_reported(params: Callable[..., Params]) -> None:
    own = params()
    write_log(own, [100.0 * number + second for number in range(100) for second in ((0, 3) if number < 20 else (0,))])
    (warning,) = warnings_of(own)
    assert warning.startswith("16.7% of purchases")
    assert "source.drop_duplicates" in warning
    assert warnings_of(params("source.drop_duplicates=10")) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"order_id": [f"o{number}" for number in range(120)]},  # other orders
        {"product_id": [f"p{number}" for number in range(120)]},
        {"occurred_at": [START] * 120},  # a log without times of day
    ],
)
def test_other_purchases_are_no_retries(params: Callable[..., Params], changed: dict[str, Any]) -> None:
    own = params()
    write_log(own, [100.0 * number + second for number in range(60) for second in (0, 3)], **changed)
    assert warnings_of(own) == []


def refunds(params: Params, *, since: datetime | None = None) -> list[tuple[float, float]]:
    """Seconds after `START` and amounts of the refunds."""
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        events = read_source(con, params, rejected_path=None, since=since).events.order_by("occurred_at").to_pandas()
        given_back = events[events.event_type == "return"]
        seconds = (given_back.occurred_at - START) / pd.Timedelta(seconds=1)
        return list(zip(seconds.tolist(), given_back.unit_price.tolist(), strict=True))


@pytest.mark.parametrize("how", ["true", "5", "event_id"])
@pytest.mark.parametrize("order", ["o", None])
def test_a_refund_of_a_repeated_row_counts_once(params: Callable[..., Params], how: str, order: str | None) -> None:
    own = params(f"source.drop_duplicates={how}", "source.events.columns={refunded: given_back}")
    write_log(own, [0, 0, 100], event_id=["x", "x", "y"], order_id=[order, order, "q"], given_back=[2.0, 2.0, 3.0])
    assert refunds(own) == [(0, 2), (100, 3)]


@pytest.mark.parametrize("how", ["5", "event_id"])
def test_an_update_does_not_repeat_refunds_of_earlier_rows(params: Callable[..., Params], how: str) -> None:
    own = params(f"source.drop_duplicates={how}", "source.events.columns={refunded: given_back}")
    # The first two rows are read again, as the third may repeat one of them.
    write_log(own, [98, 99, 101, 200], event_id=["x", "z", "x", "y"], order_id=["o", "r", "o", "q"], given_back=2.0)
    assert refunds(own)[-1:] == refunds(own, since=START + timedelta(seconds=100)) == [(200, 2)]


def test_a_repeat_never_takes_the_place_of_an_earlier_row(params: Callable[..., Params]) -> None:
    own = params("source.drop_duplicates=event_id")
    write_log(own, [0, 200], event_id="x", customer_id=["b", "a"])
    assert read(own) == ([0], 1)
    assert read(own, since=START + timedelta(seconds=100))[0] == []


@pytest.mark.parametrize(
    ("how", "prices"),
    [
        *((how, prices) for how in ("true", "5", "event_id") for prices in ([60.0, 40.0, 60.0, 40.0], [None] * 4)),
        ("event_id", [60.0, 40.0, 60.0, 30.0]),
    ],
)
def test_an_order_that_is_there_twice_keeps_its_total_and_discount(
    params: Callable[..., Params], how: str, prices: list[float | None]
) -> None:
    names = "{order_total: total, order_discount: deducted}"
    own = params(f"source.drop_duplicates={how}", f"source.events.columns={names}")
    more = {"event_id": ["x", "y", "x", "y"], "product_id": ["p", "q", "p", "q"], "unit_price": prices}
    write_log(own, [0, 0, 0, 0] if how == "true" else [0, 0, 3, 3], total=100.0, deducted=40.0, **more)
    with connect(own.engine, folder=own.path(own.outputs.folder)) as con:
        events = read_source(con, own, rejected_path=None).events.to_pandas()
    assert len(events) == 2
    assert events.discount.sum() == pytest.approx(40)
    assert (events.quantity * events.unit_price - events.discount).sum() == pytest.approx(100)
