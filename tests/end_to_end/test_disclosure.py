"""Everything that a training publishes, read by one who looks for exact numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.disclosure import rounded_count, significant, total_step
from pipeline.commands.check import unlisted_note
from pipeline.commands.report import report
from pipeline.commands.score import ScoringResult
from pipeline.config.params import Params
from pipeline.report.training_result import TrainingResult
from pipeline.stores import mlflow_runs, model_registry

MIN_GROUP = 10
COUNTS = ("customer_count", "clustered_count", "buyer_count", "buyers", "repeat_buyers", "counts")

NOT_EXACT = {
    *("figures", "shop", "customer_share", "spend_share", "spend_shares", "ratios", "funnel", "stayed_share"),
    *("evidence", "five_w", "retention", "rule", "stages", "top_categories", "revenue", "audiences"),
    "product_count",
}
"""Keys of quotients of rounded sums, and of what is not about customers."""


def counts_of_customers(value: Any, key: str = "") -> Iterator[float]:
    """The numbers under the keys that hold customers, at any depth."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from counts_of_customers(part, name if name in COUNTS or not isinstance(part, list) else "")
    elif isinstance(value, list):
        for part in value:
            yield from counts_of_customers(part, key)
    elif key in COUNTS and isinstance(value, int | float):
        yield float(value)


def test_all_numbers_of_customers_are_rounded(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    summary = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).summary
    numbers = [*counts_of_customers(summary), *summary["funnel"]["shop"]]
    assert len(numbers) > 100
    assert not [number for number in numbers if number % MIN_GROUP]


def exact_numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of more than three significant digits that are no multiples of the rounding base, at any depth."""
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else ((path, part) for part in value):
            if name not in NOT_EXACT:
                yield from exact_numbers(part, name)
    elif isinstance(value, int | float) and value != significant(value, 3) and value % MIN_GROUP:
        yield path, value


def test_all_other_numbers_have_few_digits(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    run = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id)
    assert len(run.metrics) > 10 and not [*exact_numbers(run.metrics)]
    assert len(run.summary["interests"]) > 10 and not [*exact_numbers(run.summary)]


def test_notes_hold_no_exact_counts(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    notes = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).summary["quality"]["notes"]
    found = re.findall(r"([\d,]+) of ([\d,]+) (?:customers|different|bought)", " ".join((*notes, *result.notes)))
    counts = [int(count.replace(",", "")) for pair in found for count in pair]
    assert len(counts) > 4 and not [count for count in counts if count % MIN_GROUP]


def test_the_note_on_events_in_no_list_is_rounded() -> None:
    reading: Any = SimpleNamespace(
        unlisted_count=1234, event_types={"view": 5678, "other": 1234}, other_event_types={"a": 3}, customer_count=900
    )
    assert unlisted_note(reading).startswith("1,234 of 6,912 events have types in no list")
    assert unlisted_note(reading, MIN_GROUP).startswith("1,240 of 6,900 events have types in no list")
    none: Any = SimpleNamespace(**{**vars(reading), "unlisted_count": 0, "other_event_types": {}})
    assert unlisted_note(none, MIN_GROUP) == ""
    assert "a (20)" in unlisted_note(reading, MIN_GROUP) and "a (3)" in unlisted_note(reading)


def test_the_reference_for_drift_is_rounded(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    model = model_registry.load_model(mlflow_runs.open_store(params), result.model_uri)
    reference = json.loads((model.shop_folder / "drift.json").read_text(encoding="utf-8"))
    assert reference["buys_auc"] == significant(reference["buys_auc"], 3)
    assert sum(reference["category_shares"].values()) == pytest.approx(1.0)
    for part in (*reference["columns"].values(), *reference["recent"].values()):
        shares = np.array(part["shares"])
        # They are those of some total of rounded counts, and the exact counts are of no such total.
        totals = np.arange(MIN_GROUP, 2 * reference["customer_count"], MIN_GROUP)
        counts = shares[:, None] * totals / MIN_GROUP
        assert shares.sum() == pytest.approx(1.0) and (abs(counts - counts.round()) < 1e-6).all(axis=0).any()


def test_nobody_learns_that_somebody_was_forgotten(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    summary = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).summary
    assert summary["reading"]["accepted_count"] and "forgotten" not in str(summary["reading"])


def test_events_of_a_short_time_are_no_difference_of_counts(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    reading = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).summary["reading"]
    rows = {name: reading[f"{name}_count"] for name in ("read", "accepted", "rejected", "duplicate", "unlisted")}
    by_kind = [reading[name] for name in ("event_types", "rejected_by_rule", "noted_by_rule", "left_out")]
    numbers = [*rows.values(), *(count for counts in by_kind for count in counts.values())]
    assert sum(map(bool, numbers)) > 8 and not [number for number in numbers if number % MIN_GROUP]
    assert 0 in reading["rejected_by_rule"].values() and any(reading["rejected_by_rule"].values())
    assert rows["read"] == rows["accepted"] + rows["rejected"] + sum(reading["left_out"].values())
    assert not reading["warnings"] and reading["physical_line_count"] is None
    manifest = json.loads((params.path(params.outputs.folder) / "manifest.json").read_text())
    assert manifest["row_counts"] == {f"{name}_count": rows[name] for name in ("read", "accepted", "rejected")}


def test_no_published_file_holds_an_exact_sum(trained: tuple[Params, TrainingResult], scored: ScoringResult) -> None:
    params, result = trained
    scores = pd.read_parquet(scored.path)
    own = result.segments[result.segments.facet == "behaviour"].set_index("segment_id")
    for segment_id, customers in scores.groupby("segment_id"):
        figures, size = own.figures[segment_id], rounded_count(len(customers), MIN_GROUP)
        assert own.customer_count[segment_id] == size
        if "paid_per_customer" in figures:
            assert (customers.spend > 0).sum() >= MIN_GROUP or not customers.spend.any()
            step = total_step(customers.spend, MIN_GROUP)
            steps = figures["paid_per_customer"] * size / step
            assert abs(steps - round(steps)) < 1e-6 and step >= 2 * customers.spend.max()
    spend = scores.spend
    sums = [spend.sum(), *spend, *scores.groupby("segment_id").spend.sum(), *scores.groupby("value_tier").spend.sum()]
    # Smaller amounts are places in drawings as well.
    exact = {form.format(value) for value in sums if value > 500 and value % 1.0 for form in ("{:.2f}", "{:,.2f}")}
    assert len(exact) > 20
    report(params, result.run_id, language=None, out=None, xlsx=False)
    folder = params.path(params.outputs.folder)
    artifacts = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).summary
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("report.html", "segments.json", "manifest.json")]
    for text in (*texts, str(artifacts), result.as_text()):
        assert not exact & {*re.findall(r"\d[\d,]*\.\d+", text)}
