from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.disclosure import rounded_counts
from pipeline.cli import main
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.facets import facets_of, with_minimum
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.segmentation import data_requirements
from pipeline.segmentation.data_requirements import not_clustered_note, require_enough

PARAMS = Path(__file__).parents[3] / "params.yaml"


def checked(customers: int, orders: int, first: str, *more: str) -> tuple[str, ...]:
    profile = pd.DataFrame(
        {"event_count": [3.0] * customers + [2.0] * 7, "order_count": 0.0, "lifecycle_stage": "active"}
    )
    profile.loc[0, "order_count"] = float(orders)
    summary = SimpleNamespace(first_event_at=first, last_event_at="2025-10-31T12:00:00")
    source, profiles = cast(Any, SimpleNamespace(summary=summary)), cast(Any, SimpleNamespace(table=profile))
    return require_enough(source, profiles, load_params(PARAMS, more))


def test_a_long_log_causes_no_note_and_only_the_window_counts() -> None:
    assert checked(100, 30, "2025-10-01T12:00:00") == ()
    assert checked(100, 30, "1999-10-01T12:00:00") == ()
    assert len(checked(100, 30, "1999-10-01T12:00:00", "history_days=10")) == 1


def test_one_message_lists_all_that_is_missing_and_by_how_much() -> None:
    with pytest.raises(UserError) as error:
        checked(40, 29, "2025-10-31T11:24:00")
    lines = str(error.value).splitlines()
    assert lines[1:4] == [
        "  customers with 3 events or more: 40 found, 100 needed (minimum.customers), 60 short",
        "  days from the first event to the last: 0.025 found, 0.05 needed (minimum.history_days), 0.025 short",
        "  orders: 29 found, 30 needed (minimum.orders), 1 short",
    ]
    assert "facets.behaviour.algorithm=rule" in lines[-1]
    assert checked(40, 29, "2025-10-31T11:24:00", "facets.behaviour.algorithm=rule") == ()
    no_minimum = ("minimum.customers=0", "minimum.orders=0", "minimum.history_days=0", "minimum.usual_history_days=0")
    assert checked(0, 0, "2025-10-31T11:24:00", *no_minimum) == ()


def test_the_minimum_is_in_orders_where_the_log_has_nothing_else() -> None:
    params = load_params(PARAMS, ["clustering.min_orders=2", "facets.behaviour.min_events=3"])
    assert [facet.settings.min_orders for facet in facets_of(with_minimum(params, has_orders_alone=False))] == [
        None
    ] * 2
    behaviour, interest = facets_of(with_minimum(params, has_orders_alone=True))
    assert (behaviour.settings.min_orders, interest.settings.min_orders) == (2, None)
    assert "fewer than 2 orders; they are grouped by lifecycle stage" in not_clustered_note(behaviour, 1, 4)
    off = with_minimum(load_params(PARAMS, ["clustering.min_orders=null"]), has_orders_alone=True)
    assert facets_of(off)[0].settings.min_orders is None


def test_customers_who_are_not_clustered_are_counted_with_the_remedy() -> None:
    behaviour, interest = facets_of(load_params(PARAMS, []))
    assert not_clustered_note(behaviour, 4, 4) == ""
    assert not_clustered_note(behaviour.with_settings(algorithm="rule"), 0, 4) == ""
    assert not_clustered_note(behaviour, 1, 4) == (
        "3 of 4 customers (75%) are not clustered by behaviour, as they have fewer than 3 events; they are grouped by "
        "lifecycle stage. To cluster more of them, lower facets.behaviour.min_events."
    )
    assert not_clustered_note(interest, 1, 4).endswith(
        "fewer than 3 events or less evidence of interests than 2; their interests are unknown. To cluster more of "
        "them, lower facets.interest.min_events or facets.interest.min_evidence."
    )
    assert not_clustered_note(behaviour.with_settings(min_orders=1), 1, 4) == (
        "3 of 4 customers (75%) have no order: they are grouped by lifecycle stage."
    )


def test_a_note_says_how_far_shares_of_revenue_are_rounded() -> None:
    one_large, alike = pd.Series([100.0] * 400 + [30_000.0]), pd.Series([100.0] * 400)
    assert data_requirements.rounding_note(one_large, 10).endswith(
        "shares of revenue are rounded to steps of about 100%."
    )
    assert data_requirements.rounding_note(pd.Series([100.0] * 40), 10).endswith("rounded to steps of about 20%.")
    assert data_requirements.rounding_note(alike, 10) == data_requirements.rounding_note(one_large, 1) == ""
    assert data_requirements.rounding_note(pd.Series([0.0, -5.0]), 10) == ""


def test_a_log_of_a_few_hours_causes_a_note() -> None:
    (note,) = checked(100, 30, "2025-10-31T09:00:00")
    assert note.startswith("Short log: 3 hours from the first event to the last.")
    assert checked(100, 30, "2025-10-26T12:00:00")[0].startswith("Short log: 5 days")


def test_train_refuses_a_short_log_in_one_message_with_exit_code_2(
    params: Callable[..., Params], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *params("minimum.customers=100000").called_with]) == 2
    message = capsys.readouterr().err
    assert len(re.findall("^kindred: expected enough", message, flags=re.MULTILINE)) == 1
    assert "100,000 needed (minimum.customers)" in message
    assert "Traceback" not in message
    assert not (tmp_path / "outputs" / "report.html").exists()


def test_a_short_log_can_be_grouped_by_rule_as_the_message_suggests(
    params: Callable[..., Params], tmp_path: Path
) -> None:
    """Its model is not made champion by itself."""
    minimum = ("minimum.customers=100000", "minimum.usual_history_days=1000")
    by_rule = params("facets.behaviour.algorithm=rule", *minimum)
    trained = train(by_rule, sweep=False, progress=SILENT)
    assert trained.alias == "challenger"
    assert "There is no champion yet." in trained.as_text() and "kindred promote" in trained.as_text()
    with pytest.raises(UserError, match=r"no champion.*kindred promote"):
        score(by_rule, model_uri="models:/kindred@champion", out=tmp_path / "scores.parquet", progress=SILENT)
    assert trained.segments.is_standing.all()
    assert trained.segments.customer_share.sum() == pytest.approx(1.0, abs=0.05)
    scored = score(by_rule, model_uri=trained.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    frame = pq.read_table(scored.path).to_pandas()
    expected = dict(zip(trained.segments.segment_id, trained.segments.customer_count, strict=True))
    counts = frame.segment_id.value_counts()
    assert dict(zip(counts.index, rounded_counts(counts, by_rule.naming.min_group), strict=True)) == expected
    assert frame.cluster_id.isna().all()
    report = trained.report_path.read_text(encoding="utf-8")
    assert "by rule" in report
    assert "Interests by segment" not in report
