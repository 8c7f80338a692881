"""Runs side by side: what differs, who goes where, and which one to take."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import tracking
from pipeline.compare import advice, compare
from pipeline.flow import flow_table
from pipeline.params import Params
from pipeline.rename import rename
from pipeline.report.comparison import flow_figure
from pipeline.report.wording import wording
from pipeline.train import Trained, train


def quiet(step: str) -> None:
    """No progress."""


def placed(*groups: tuple[str, str, int]) -> tuple[pd.Series, pd.Series]:
    """(segment before, after, customers) -> both, by customer."""
    before = [one for one, _, count in groups for _ in range(count)]
    after = [one for _, one, count in groups for _ in range(count)]
    ids = [f"c{number}" for number in range(len(before))]
    return pd.Series(before, ids), pd.Series(after, ids)


def test_flows_by_hand() -> None:
    before, after = placed(("s01", "s01", 30), ("s01", "s02", 10), ("s02", "s02", 20), ("s02", "s01", 9))
    # Only who is known to both models counts, in whatever order.
    after = pd.concat([after.sample(frac=1, random_state=0), pd.Series(["s01"] * 40, [f"new{n}" for n in range(40)])])
    found = flow_table(before, after, min_group=10)
    assert found["customer_count"] == 69
    assert found["stayed_share"] == pytest.approx(50 / 69)
    assert found["hidden_count"] == 1
    assert found["flows"] == [
        {"origin": "s01", "destination": "s01", "customer_count": 30},
        {"origin": "s02", "destination": "s02", "customer_count": 20},
        {"origin": "s01", "destination": "s02", "customer_count": 10},
    ]
    assert flow_table(before, before, min_group=1)["agreement"] == 1.0


def test_whom_both_models_group_by_rule_say_nothing_of_them() -> None:
    before, after = placed(
        *(("standing-lost", "standing-lost", 70), ("standing-lost", "standing-cart", 5)),
        *(("standing-lost", "s01", 3), ("s01", "s01", 9)),
    )
    found = flow_table(before, after, min_group=1)
    assert (found["customer_count"], found["by_rule_count"]) == (12, 75)
    assert found["stayed_share"] == pytest.approx(9 / 12)
    assert [one["customer_count"] for one in found["flows"]] == [9, 3]


def test_no_customer_in_common() -> None:
    before, after = placed(("s01", "s02", 3))
    found = flow_table(before, after.add_prefix("other-"), min_group=1)
    assert (found["customer_count"], found["flows"], found["stayed_share"]) == (0, [], 0.0)
    assert flow_figure([], [{}, {}], wording("en"))["bands"] == []


def test_bands_fill_their_segments() -> None:
    flows = [
        {"origin": "s01", "destination": "s01", "customer_count": 30},
        {"origin": "s02", "destination": "s02", "customer_count": 20},
        {"origin": "s01", "destination": "s02", "customer_count": 10},
    ]
    found = flow_figure(flows, [{"s01": "VIP", "s02": "Lost"}, {"s01": "VIP"}], wording("en"))
    assert [one["label"] for one in found["nodes"]] == ["VIP", "Lost", "VIP", "s02"]
    heights = [one["height"] for one in found["nodes"]]
    assert heights == pytest.approx([40 / 60 * 60, 20, 30, 30])  # 2 x 38 less a gap of 16: one pixel a customer
    assert [one["kind"] for one in found["bands"]] == ["same", "moved", "same"]
    assert found["bands"][1]["title"] == "VIP → s02: 10 customers"
    # The second band begins 30 below the first, and ends at the top of the right s02, which is 30 + 16 down.
    assert found["bands"][1]["path"].startswith("M252.0,30.0C480.0,30.0 480.0,46.0 708.0,46.0V56.0")


def run(label: str, *, champion: bool = False, as_of: str = "1 May", **figures: float) -> dict[str, Any]:
    return {
        **{"label": label, "is_champion": champion, "figures": figures, "params": {"as_of": as_of}},
        "summary": {"reading": {"digest": "d"}},
    }


def test_advice(params: Callable[..., Params]) -> None:
    given = params("promote.tolerance=0.05", "promote.validity_tolerance=0.02")
    champion = run("a (champion)", champion=True, stability_mean=0.80, validity_buys_auc=0.70, n_segments=8)
    near = run("b", stability_mean=0.82, validity_buys_auc=0.71, n_segments=6)
    better = run("c", stability_mean=0.90, validity_buys_auc=0.70, n_segments=8)
    mixed = run("d", stability_mean=0.90, validity_buys_auc=0.60, n_segments=8)
    assert advice([near, champion], given) == "Keep a (champion): no run is better by more than promote tolerates."
    assert advice([champion, better], given).startswith(
        "Take c (kindred promote): a (champion) is worse in stability_mean."
    )
    assert re.match(
        r"No run is to be preferred: .* a \(champion\) in stability_mean; d in validity_buys_auc\.",
        advice([champion, mixed], given),
    )
    assert advice([near, run("e", stability_mean=0.8, n_segments=8)], given).startswith("Take b ")
    assert "No advice" in advice([run("f", silhouette=0.2), champion], given)
    assert "different moments" in advice([champion, run("g", as_of="1 June", stability_mean=0.8)], given)


def test_two_trainings_side_by_side(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    fewer = given.model_copy(update={"clustering": given.clustering.model_copy(update={"n_segments": 4})})
    second = train(fewer, sweep=False, progress=quiet)
    rename(given, first.segments.segment_id[0], "Our <gold>")
    told = compare(given, [first.run_id[:10], second.run_id], flow=True, progress=quiet)
    assert re.search(r"clustering\.n_segments +6 +4", told)
    assert f"{first.run_id[:12]} (champion)" in told and "Our <gold>" in told
    assert re.search(r"Of [\d,]+ customers, \d+% are in the segment of the same id in both; agreement .* 0\.\d\d", told)
    assert re.search(r"\n(Keep|Take|No run)", told)
    # All customers are told of, either in a flow or as grouped by rule.
    known, alike = (int(found.replace(",", "")) for found in re.findall(r"([\d,]+) (?:customers, \d|more are)", told))
    assert known + alike == first.segments.customer_count.sum()
    mlflow = tracking.open_store(given)
    place = Path(told.rpartition("Report   ")[2])
    html = place.read_text()
    assert html.count("<path") > 5 and "<script" not in html and "Our &lt;gold&gt;" in html
    assert "Our <gold>" not in html
    other = mlflow.MlflowClient().list_artifacts(second.run_id, "compare")
    assert [one.path for one in other] == [f"compare/with-{first.run_id[:8]}.html"]
    assert not re.findall(r"(?:src|href)=|url\(|https?://", html)


def test_without_flow_and_where_it_cannot_be_had(params: Callable[..., Params]) -> None:
    given = params()
    mlflow = tracking.open_store(given)
    ids = []
    for name in ("one", "two"):
        with tracking.run(mlflow, name=name, tags={}) as run_id:
            ids.append(run_id)
            mlflow.log_metric("stability_mean", 0.5)
    told = compare(given, ids, flow=False, progress=quiet)
    assert "is told with --flow" in told
    assert "cannot be told" in compare(given, ids, flow=True, progress=quiet)
    with pytest.raises(tracking.TrackingError, match="two different runs"):
        compare(given, [ids[0], ids[0][:9]], flow=False, progress=quiet)
    with pytest.raises(tracking.TrackingError, match="expected the id of a run"):
        compare(given, [ids[0], "nosuchrun"], flow=False, progress=quiet)
