"""`kindred explain`: sums that add up, the share of the profile, and nothing of anybody else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.categories import OTHER, CategoryCut
from pipeline.commands import explain as explaining
from pipeline.commands.explain import explain
from pipeline.commands.score import score
from pipeline.commands.train import Trained
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.profiles.shop import load_shop


def quiet(step: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def scores(trained: tuple[Params, Trained], tmp_path_factory: Any) -> Any:
    params, found = trained
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    score(params, model_uri=found.model_uri, out=out, progress=quiet)
    return pq.read_table(out).to_pandas().set_index("customer_id")


@pytest.fixture(scope="module")
def told(trained: tuple[Params, Trained]) -> Callable[..., str]:
    """What is told of a customer, made once for each question."""
    params, found = trained

    @cache
    def telling(customer: str, category: str | None = None) -> str:
        return explain(params, customer=customer, category=category, model_uri=found.model_uri, progress=quiet)

    return telling


def table_of(text: str) -> dict[str, list[float]]:
    """Name -> numbers with six decimals, of the lines that have any."""
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines() if re.search(r"\d\.\d{6}(\s|$)", line)]
    return {row[0]: [float(cell) for cell in row[1:] if re.fullmatch(r"\d+\.\d{6}", cell)] for row in rows}


def test_rows_and_columns_add_up_and_name_the_segment_of_the_scores(told: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    text = told(customer)
    table = {name: [round(cell * 1e6) for cell in cells] for name, cells in table_of(text).items()}
    total = table.pop("all")
    assert len(table) > 1
    for cells in [*table.values(), total]:
        assert sum(cells[:-1]) == cells[-1]
    for place, cell in enumerate(total):
        assert sum(cells[place] for cells in table.values()) == cell
    row = scores.loc[customer]
    assert f"Behaviour  {row.segment} (strength {row.strength:.2f}, evidence {row.evidence})" in text
    assert f"Runner-up  {row.next_segment} (margin {row.margin:.2f};" in text
    taste = f"strength {row.interest_strength:.2f}, evidence {row.interest_evidence})"
    assert re.search(
        rf"^Interest   {re.escape(row.interest_segment)} \((unstable, )?{re.escape(taste)}", text, re.MULTILINE
    )
    assert f"Runner-up  {row.next_interest_segment} (margin {row.interest_margin:.2f};" in text
    assert f"{row.segment} · {row.interest_segment}" in text.splitlines()


def test_the_events_of_a_category_add_up_to_its_evidence_and_share(told: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    overview = table_of(told(customer))
    category = next(iter(overview))
    text = told(customer, category)
    lines = [line for line in text.splitlines() if re.match(r"\d{4}-", line)]
    events = [round(float(line.split()[-1]) * 1e6) for line in lines]
    assert sum(events) == round(overview[category][-1] * 1e6) == round(table_of(text)["all"][-1] * 1e6)
    assert re.search(r"^bought \d+ items, \d+% of the purchases at a discount, at \d\.\d\d times", text, re.MULTILINE)
    steps = [[float(one) for one in found] for found in STEP.findall(text)]
    assert len(steps) > 1 and steps[0][1] == 1.0
    for (share, above, own, kappa, shop, everything), (_, before, *_) in zip(
        steps, [*steps[1:], steps[0]], strict=True
    ):
        assert above * (own + kappa * shop) / (everything + kappa) == pytest.approx(share, abs=2e-6)
        assert before in (share, 1.0)
    assert steps[-1][0] == pytest.approx(table_share(told(customer), category), abs=6e-5)


def test_lifts_are_those_of_the_scores(told: Callable[..., str], scores: Any) -> None:
    """Top categories have lifts of 1.3 or more, the highest gain first, which can be computed from what is shown."""
    customer = next(name for name in scores.index[scores.order_count > 3] if len(scores.top_categories[name]) > 1)
    top = list(scores.top_categories[customer])
    overview = told(customer)
    figures = r"\s{2,}([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)%\s+([\d.]+)%\s+([\d.]+)$"
    rows = re.findall(rf"^(\S.*?){figures}", overview.split("top categories")[1], re.MULTILINE)
    assert [name for name, *_ in rows] == top
    gains = []
    for category, *cells in rows:
        evidence, usual, gain, share, expected, lift = map(float, cells)
        assert evidence * math.log(evidence / usual) == pytest.approx(gain, abs=0.05 + 0.01 * evidence / usual)
        text = told(customer, category)
        found = re.search(r"^lift   ([\d.]+) compared with ([\d.]+), the share of a customer", text, re.MULTILINE)
        assert found
        steps = STEP.findall(text)
        assert float(steps[-1][0]) / float(found[2]) == pytest.approx(float(found[1]), abs=6e-3)
        assert [100 * float(steps[-1][0]), 100 * float(found[2])] == pytest.approx([share, expected], abs=6e-3)
        assert float(found[1]) == pytest.approx(lift, abs=6e-3) and lift >= 1.3 and share >= 5.0
        assert float(steps[-1][2]) == pytest.approx(evidence, abs=6e-3)
        gains.append(gain)
    assert gains == sorted(gains, reverse=True)


def test_a_category_above_the_columns_has_the_events_of_all_of_them(told: Callable[..., str], scores: Any) -> None:
    customer = scores[scores.order_count > 3].index[0]
    overview = table_of(told(customer))
    above = next(iter(overview)).split(" > ")[0]
    text = told(customer, above)
    events = [round(float(line.split()[-1]) * 1e6) for line in text.splitlines() if re.match(r"\d{4}-", line)]
    inside = [cells[-1] for name, cells in overview.items() if name.split(" > ")[0] == above]
    assert sum(events) == pytest.approx(sum(round(one * 1e6) for one in inside), abs=1)
    assert len(STEP.findall(text)) == 1


def test_when_a_customer_left_is_not_what_counts(told: Callable[..., str], scores: Any) -> None:
    """The last event that counts counts in full, however long ago it was: the weight of its type."""
    lapsed = scores[(scores.lifecycle_stage == "lapsed") & (scores.order_count > 0)].index[0]
    overview = table_of(told(lapsed))
    texts = [told(lapsed, name) for name in overview if name not in ("all", "all others")]
    lines = sorted(line for text in texts for line in text.splitlines() if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", line))
    *_, probability, counted = lines[-1].split()
    assert float(counted) >= float(probability)


STEP = re.compile(
    r"^([\d.]+) = ([\d.]+) \* \(([\d.]+) \+ ([\d.]+) \* ([\d.]+)\) / \(([\d.]+) \+ [\d.]+\)", re.MULTILINE
)


def table_share(text: str, category: str) -> float:
    """The share that the overview tells of a category."""
    line = next(line for line in text.splitlines() if line.startswith(category))
    found = re.search(r"([\d.]+)%", line)
    assert found
    return float(found[1]) / 100.0


def test_nobody_else_is_told_of(told: Callable[..., str], scores: Any) -> None:
    customer, *others = scores[scores.order_count > 3].index[:40]
    text = told(customer)
    assert not any(other in text for other in others)


def test_who_did_nothing(told: Callable[..., str], scores: Any) -> None:
    silent = scores[scores.lifecycle_stage == "newcomer"].index[0]
    assert "Nothing this customer did" in told(silent)


def test_who_bought_before_the_window_is_not_told_never_to_have_ordered(
    told: Callable[..., str], scores: Any, trained: tuple[Params, Trained], shop: Path, tmp_path: Path
) -> None:
    given, found = trained
    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    buyers = set(events.customer_id[events.event_type == "purchase"])
    customer = next(name for name in scores.index[scores.lifecycle_stage == "browsing"] if name not in buyers)
    assert "; 0 orders, never ordered; " in told(customer)
    purchase = events[events.event_type == "purchase"].head(1)
    at = (given.as_of - timedelta(days=given.history_days + 1)).replace(tzinfo=events.occurred_at.dt.tz)
    log = pd.concat([events, purchase.assign(customer_id=customer, occurred_at=at)])
    log.to_parquet(tmp_path / "log.parquet", coerce_timestamps="us")
    elsewhere = given.source.events.model_copy(update={"path": str(tmp_path / "log.parquet")})
    with_one = given.model_copy(update={"source": given.source.model_copy(update={"events": elsewhere})})
    text = explain(with_one, customer=customer, category=None, model_uri=found.model_uri, progress=quiet)
    assert "; no order in the last 365 days, but before; " in text


def test_a_log_without_categories_is_told(trained: tuple[Params, Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    params, found = trained

    def without_categories(*places: Path) -> Any:
        shop, given = load_shop(*places)
        return replace(shop, spec=replace(shop.spec, cut=CategoryCut(1, (OTHER,), (1.0,)))), given

    monkeypatch.setattr(explaining, "load_shop", without_categories)
    with pytest.raises(UserError, match=r"--category: the log that the model was trained on has no categories\.$"):
        explain(params, customer="c1", category="Cats", model_uri=found.model_uri, progress=quiet)


def test_unknown_customers_and_categories(told: Callable[..., str], scores: Any) -> None:
    with pytest.raises(UserError, match=r"found no such customer\. Give the id as it stands") as raised:
        told("somebody@example.com")
    assert "somebody" not in str(raised.value)
    with pytest.raises(UserError, match=r"--category: expected one of"):
        told(scores.index[0], "Cats")
