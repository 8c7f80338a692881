"""`kindred explain`: sums add up, shares match the profile, and other customers are never shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.categories import OTHER, CategoryCut
from pipeline.commands.explain import explain
from pipeline.commands.score import ScoringResult
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.profiles.shop import load_shop
from pipeline.scoring import trained_model
from tests.conftest import copy_store
from tests.pipeline.conftest import params_in


@pytest.fixture(scope="module")
def scores(scored: ScoringResult) -> Any:
    return pq.read_table(scored.path).to_pandas().set_index("customer_id")


@pytest.fixture(scope="module")
def explained(trained: tuple[Params, TrainingResult]) -> Callable[..., str]:
    """`explain` for a customer and an optional category, cached."""
    params, result = trained

    @cache
    def explain_customer(customer: str, category: str | None = None) -> str:
        return explain(params, customer=customer, category=category, model_uri=result.model_uri, progress=SILENT)

    return explain_customer


def table_of(text: str) -> dict[str, list[float]]:
    """Name -> numbers with three decimals, for the lines of tables that have any."""
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines() if re.search(r"\s{2,}\d+\.\d{3}(\s|$)", line)]
    return {row[0]: [float(cell) for cell in row[1:] if re.fullmatch(r"\d+\.\d{3}", cell)] for row in rows}


def test_rows_and_columns_add_up_and_name_the_segment_of_the_scores(explained: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    text = explained(customer)
    table = {name: [round(cell * 1e3) for cell in cells] for name, cells in table_of(text).items()}
    total = table.pop("all")
    assert len(table) > 1
    for cells in [*table.values(), total]:
        assert sum(cells[:-1]) == cells[-1]
    for column, cell in enumerate(total):
        assert sum(cells[column] for cells in table.values()) == cell
    row = scores.loc[customer]
    assert f"Behaviour  {row.segment} (strength {row.strength:.2f}, evidence {row.evidence})" in text
    assert f"Runner-up  {row.next_segment} (margin {row.margin:.2f};" in text
    strength = f"strength {row.interest_strength:.2f}, evidence {row.interest_evidence})"
    assert re.search(
        rf"^Interest   {re.escape(row.interest_segment)} \((unstable, )?{re.escape(strength)}", text, re.MULTILINE
    )
    assert f"Runner-up  {row.next_interest_segment} (margin {row.interest_margin:.2f};" in text
    assert f"{row.segment} · {row.interest_segment}" in text.splitlines()


def test_a_customer_grouped_by_rule_has_no_strength(explained: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.segment_id.str.startswith("standing-")].index[0]
    text = explained(customer)
    assert f"Behaviour  {scores.segment[customer]} (grouped by rule, evidence low)" in text
    assert "strength nan" not in text


def test_the_events_of_a_category_add_up_to_its_evidence_and_share(explained: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    overview = table_of(explained(customer))
    category = next(iter(overview))
    text = explained(customer, category)
    lines = [line for line in text.splitlines() if re.match(r"\d{4}-", line)]
    events = [round(float(line.split()[-1]) * 1e3) for line in lines]
    assert sum(events) == round(overview[category][-1] * 1e3) == round(table_of(text)["all"][-1] * 1e3)
    assert re.search(r"^bought \d+ items, \d+% of the purchases at a discount, at \d\.\d\d times", text, re.MULTILINE)
    steps = [[float(number) for number in step] for step in STEP.findall(text)]
    assert len(steps) > 1 and steps[0][1] == 1.0
    for (share, parent, own, kappa, shop, everything), (_, before, *_) in zip(
        steps, [*steps[1:], steps[0]], strict=True
    ):
        assert parent * (own + kappa * shop) / (everything + kappa) == pytest.approx(share, rel=2e-3)
        assert before in (share, 1.0)
    assert steps[-1][0] == pytest.approx(table_share(explained(customer), category), abs=2e-4)


def test_lifts_match_the_scores(explained: Callable[..., str], scores: Any) -> None:
    """Top categories have a lift of at least 1.3 and are sorted by gain, and both follow from the printed figures."""
    customer = next(name for name in scores.index[scores.order_count > 3] if len(scores.top_categories[name]) > 1)
    top = list(scores.top_categories[customer])
    overview = explained(customer)
    figures = r"\s{2,}([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)%\s+([\d.]+)%\s+([\d.]+)$"
    rows = re.findall(rf"^(\S.*?){figures}", overview.split("top categories")[1], re.MULTILINE)
    assert [name for name, *_ in rows] == top
    gains = []
    for category, *cells in rows:
        evidence, usual, gain, share, expected, lift = map(float, cells)
        assert evidence * math.log(evidence / usual) == pytest.approx(gain, abs=0.05 + 0.01 * evidence / usual)
        text = explained(customer, category)
        match = re.search(r"^lift   ([\d.]+) = share / ([\d.]+), the expected share of a customer", text, re.MULTILINE)
        assert match
        steps = STEP.findall(text)
        assert float(steps[-1][0]) / float(match[2]) == pytest.approx(float(match[1]), abs=6e-3, rel=2e-3)
        assert [100 * float(steps[-1][0]), 100 * float(match[2])] == pytest.approx([share, expected], abs=2e-2)
        assert float(match[1]) == pytest.approx(lift, abs=6e-3) and lift >= 1.3 and share >= 5.0
        assert float(steps[-1][2]) == pytest.approx(evidence, abs=6e-3)
        gains.append(gain)
    assert gains == sorted(gains, reverse=True)


def test_a_parent_category_has_the_events_of_all_its_columns(explained: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    overview = table_of(explained(customer))
    parent = next(iter(overview)).split(" > ")[0]
    text = explained(customer, parent)
    events = [round(float(line.split()[-1]) * 1e3) for line in text.splitlines() if re.match(r"\d{4}-", line)]
    inside = [cells[-1] for name, cells in overview.items() if name.split(" > ")[0] == parent]
    assert sum(events) == pytest.approx(sum(round(number * 1e3) for number in inside), abs=1)
    assert len(STEP.findall(text)) == 1


def test_time_since_the_last_event_does_not_matter(explained: Callable[..., str], scores: Any, shop: Path) -> None:
    """The last counted event has the full weight of its type, however long ago it was."""
    customers = scores[(scores.lifecycle_stage == "lapsed") & (scores.order_count > 0)].index
    events = pd.concat([pd.read_parquet(path, columns=["customer_id"]) for path in (shop / "events").glob("*.parquet")])
    counts = events.customer_id.value_counts().sort_index().reindex(customers)
    lapsed = counts[counts >= 5].idxmin()  # of few categories, each of which takes an explanation
    overview = table_of(explained(lapsed))
    roots = {name.split(" > ")[0] for name in overview if name not in ("all", "all others")}  # with all their columns
    texts = [explained(lapsed, name) for name in sorted(roots)]
    lines = sorted(line for text in texts for line in text.splitlines() if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", line))
    *_, probability, counted = lines[-1].split()
    assert float(counted) >= float(probability)


STEP = re.compile(
    r"^([\d.]+) = ([\d.]+) \* \(([\d.]+) \+ ([\d.]+) \* ([\d.]+)\) / \(([\d.]+) \+ [\d.]+\)", re.MULTILINE
)


def table_share(text: str, category: str) -> float:
    """The share of a category in the overview."""
    line = next(line for line in text.splitlines() if line.startswith(category))
    match = re.search(r"([\d.]+)%", line)
    assert match
    return float(match[1]) / 100.0


def test_no_other_customer_is_shown(explained: Callable[..., str], scores: Any) -> None:
    customer, *others = scores[scores.order_count > 3].index[:40]
    text = explained(customer)
    assert not any(other in text for other in others)


def test_a_customer_without_activity(explained: Callable[..., str], scores: Any) -> None:
    silent = scores[scores.lifecycle_stage == "newcomer"].index[0]
    assert "None of this customer's events point to a category." in explained(silent)


def test_an_order_before_the_window_is_mentioned(
    explained: Callable[..., str], scores: Any, trained: tuple[Params, TrainingResult], shop: Path, tmp_path: Path
) -> None:
    settings, result = trained
    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    buyers = set(events.customer_id[events.event_type == "purchase"])
    customer = next(name for name in scores.index[scores.lifecycle_stage == "browsing"] if name not in buyers)
    assert "; 0 orders, has never ordered; " in explained(customer)
    purchase = events[events.event_type == "purchase"].head(1)
    at = (settings.as_of - timedelta(days=settings.history_days + 1)).replace(tzinfo=events.occurred_at.dt.tz)
    log = pd.concat([events, purchase.assign(customer_id=customer, occurred_at=at)])
    log.to_parquet(tmp_path / "log.parquet", coerce_timestamps="us")
    elsewhere = settings.source.events.model_copy(update={"path": str(tmp_path / "log.parquet")})
    with_one = settings.model_copy(update={"source": settings.source.model_copy(update={"events": elsewhere})})
    text = explain(with_one, customer=customer, category=None, model_uri=result.model_uri, progress=SILENT)
    assert "; no orders in the last 365 days, but earlier ones; " in text


def test_a_log_without_categories_is_reported(
    trained: tuple[Params, TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, result = trained

    def without_categories(*places: Path) -> Any:
        shop, settings = load_shop(*places)
        return replace(shop, spec=replace(shop.spec, cut=CategoryCut(1, (OTHER,), (1.0,)))), settings

    monkeypatch.setattr(trained_model, "load_shop", without_categories)
    with pytest.raises(UserError, match=r"--category: the log that the model was trained on has no categories\.$"):
        explain(params, customer="c1", category="Cats", model_uri=result.model_uri, progress=SILENT)


def test_unknown_customers_and_categories(explained: Callable[..., str], scores: Any) -> None:
    with pytest.raises(UserError, match=r"found none with this id\. Give the id exactly as in the log") as raised:
        explained("somebody@example.com")
    assert "somebody" not in str(raised.value) and "Did you mean" not in str(raised.value)
    with pytest.raises(UserError, match=r"--category: expected a category of the model"):
        explained(scores.index[0], "Cats")


def test_similar_ids_are_named(explained: Callable[..., str], scores: Any) -> None:
    customer = scores.index[scores.order_count > 3][0]
    for given in (f"{customer}.0", customer.upper(), f" {customer} "):
        with pytest.raises(UserError, match=rf"found none with this id\. Did you mean {customer}( or |\? Give the id)"):
            explained(given)


def test_the_id_is_read_as_those_of_the_log_are(trained: tuple[Params, TrainingResult], scores: Any) -> None:
    params, result = trained
    customer = scores.index[scores.order_count > 3][0]
    ids = params.source.ids.model_copy(update={"normalise": "lower"})
    params = params.model_copy(update={"source": params.source.model_copy(update={"ids": ids})})
    given = f" {customer.upper()} "
    text = explain(params, customer=given, category=None, model_uri=result.model_uri, progress=SILENT)
    assert scores.segment[customer] in text


def test_spend_is_that_of_the_report_and_the_segment_has_its_rule(
    explained: Callable[..., str], scores: Any, trained: tuple[Params, TrainingResult]
) -> None:
    buyers = scores[(scores.returned_spend > 0) & (scores.returned_spend < scores.spend)]
    row = buyers.iloc[0]
    text = explained(buyers.index[0])
    assert f"Spend      {row.spend - row.returned_spend:,.2f} in the last 365 days, returns deducted" in text
    segments = trained[1].segments.set_index("segment_id")
    rule = segments.rule[row.segment_id]["text"]
    assert f"Rule       about: {rule}" in text.splitlines()


def test_a_shop_without_categories_shows_orders_spend_and_rule(tmp_path: Path, mlflow_store: Path) -> None:
    """A log of orders alone, with ids that were numbers once."""
    copy_store(mlflow_store, tmp_path)
    draw = np.random.default_rng(0)
    numbers = np.repeat(np.arange(80), np.tile([1, 3, 8, 20], 20))
    log = pd.DataFrame(
        {
            "customer_id": [f"{17850 + number}.0" for number in numbers],
            "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(draw.integers(0, 300, len(numbers)), unit="D"),
            "event_type": np.where(draw.random(len(numbers)) < 0.1, "return", "purchase"),
            "product_id": "p",
            "quantity": 1.0,
            "unit_price": 10.0,
        }
    )
    log.to_parquet(tmp_path / "log.parquet", coerce_timestamps="us")
    tables = (
        f"source.events.path={tmp_path / 'log.parquet'}",
        "source.products=null",
        "source.customers=null",
        "currency=EUR",
    )
    minimum = ("minimum.customers=0", "minimum.history_days=0", "minimum.orders=0", "facets.behaviour.n_segments=3")
    params = params_in(tmp_path, tmp_path, *tables, *minimum)
    model = train(params, sweep=False, progress=SILENT).model_uri
    text = explain(params, customer="17853.0", category=None, model_uri=model, progress=SILENT)
    own = log[(log.customer_id == "17853.0")]
    net = 10.0 * ((own.event_type == "purchase").sum() - (own.event_type == "return").sum())
    assert re.search(
        r"^Lifecycle  \w+, \w+; \d+ orders, last order [\d.]+ days before 2025-11-01; 20 events", text, re.MULTILINE
    )
    assert f"\nSpend      {net:,.2f} EUR in the last 365 days, returns deducted\n" in text
    assert "\nRule       about: " in text
    assert text.endswith("has no categories, so there are no interests to show.")
    with pytest.raises(UserError, match=r"Did you mean 17853\.0"):
        explain(params, customer="17853", category=None, model_uri=model, progress=SILENT)
