"""Runs side by side: what differs, who goes where, and which one to take."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.commands.compare import _names, advice, compare
from pipeline.commands.rename import rename
from pipeline.commands.train import Trained, train
from pipeline.config.facets import facets_of, with_facets
from pipeline.config.params import Params
from pipeline.report.comparison import Advice, comparison, flow_figure
from pipeline.report.pages.render import render_template
from pipeline.report.texts.languages import read_texts
from pipeline.report.texts.wording import wording
from pipeline.scoring.flow import flow_table
from pipeline.stores import mlflow_runs


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


def test_ids_of_unrelated_runs_are_not_the_same_segments() -> None:
    """There s01 is what s02 is here, and s02 holds nobody's most; a stage is the same everywhere."""
    groups = (
        ("s02", "s01", 40),
        ("s01", "s02", 10),
        ("s01", "s03", 10),
        ("s01", "standing-lost", 10),
        ("standing-lost", "s01", 2),
    )
    found = flow_table(*placed(*groups), min_group=1, min_jaccard=0.4)
    assert found["same"] == {"s01": "s02", "standing-lost": "standing-lost"}
    assert found["stayed_share"] == pytest.approx(40 / 72)
    runs = [
        {
            **{"label": label, "params": {}, "figures": {}, "line": {label}, "names": {"s01": f"{label} 1", "s02": f"{label} 2"}},
            "summary": {"segments": [{"segment_id": one, "customer_share": 0.5, "is_stable": True} for one in ("s01", "s02")]},
        }
        for label in ("a", "b")
    ]  # fmt: skip
    told = comparison(runs, [found], wording("en"), advice=Advice("none"), flow_note="")
    assert told["segments"] == [
        ["s01", "a 1 (50%)", "-"],
        ["s02", "a 2 (50%)", "b 1 (50%)"],
        ["s02", "-", "b 2 (50%)"],
    ]
    assert "are in segments that have most of their customers in common" in told["flows"][0]["text"]
    assert [one["kind"] for one in told["flows"][0]["figure"]["bands"]].count("same") == 1
    without = comparison(runs, [], wording("uk"), advice=Advice("none"), flow_note="")
    assert [row[1:] for row in without["segments"]].count(["a 1 (50%)".replace("50%", "50\xa0%"), "-"]) <= 1
    assert len(without["segments"]) == 4 and "--flow" in without["notes"][0]
    akin = [run | {"line": {"a", run["label"]}} for run in runs]
    assert len(comparison(akin, [], wording("en"), advice=Advice("none"), flow_note="")["segments"]) == 2
    runs[0]["summary"]["segments"][1]["is_stable"] = False
    told = comparison(runs, [found], wording("en"), advice=Advice("none"), flow_note="")
    assert told["segments"][1] == ["s02", "a 2 (unstable segment) (50%)", "b 1 (50%)"]
    assert told["flows"][0]["rows"][0] == {"origin": "a 2 (unstable segment)", "destination": "b 1", "customers": "40"}


def test_figures_that_are_nothing_in_all_runs_are_left_out() -> None:
    nothing = {"queries_learned": 0.0, "spend": float("nan"), "segments_unstable": 0.0}
    runs = [
        run(label, **nothing, **more) | {"line": {"a"}, "names": {}}
        for label, more in (
            ("a", {"queries_by_words": 0.0}),
            ("b", {"queries_by_words": 2.0, "queries_abstained": 0.0}),
        )
    ]
    told = comparison(runs, [], wording("en"), advice=Advice("none"), flow_note="")["figures"]
    # That no segment is unstable is news, as fewer are better.
    assert told == [["queries_by_words", "0", "2"], ["segments_unstable", "0", "0"]]


@pytest.mark.parametrize("language", ["uk", "ru", "sq"])
def test_the_page_is_in_its_language(language: str) -> None:
    groups = ("s01", "s01", 40), ("s01", "s02", 3), ("standing-lost", "standing-lost", 5)
    flow = flow_table(*placed(*groups), min_group=10)
    runs = [run(label, **{"behaviour/stability_mean": 0.8}) | {"line": {"a"}, "names": {}} for label in ("a", "b")]
    runs[1]["params"] = {"as_of": "2 May"}
    best = Advice("undecided", behind={"a": ["behaviour/stability_mean"]}, beware="moments")
    words = wording(language)
    told = comparison(runs, [flow], words, advice=best, flow_note=words("compare.no_flow"))
    page = re.sub(
        r"<style>.*?</style>|<[^>]+>", " ", render_template("compare.html.j2", words=words, **told), flags=re.DOTALL
    )
    english = {key: text for key, text in read_texts("en").items() if isinstance(text, str)}
    said = {
        "compare.title",
        "compare.settings",
        "compare.figure",
        "compare.colours",
        "compare.inside",
        "sizes.customers",
    }
    assert not [key for key in said if english[key].partition("{")[0].strip() in page]
    assert words("compare.beware.moments") in page and words("compare.colours") in page
    assert words("compare.flow_by_rule", count=5) in page and words("compare.flow_hidden", count=1) in page


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
    def stable(mean: float) -> dict[str, float]:
        return {"behaviour/stability_mean": mean, "interest/stability_mean": 0.9}

    given = params("promote.tolerance=0.05", "promote.validity_tolerance=0.02")
    champion = run("a (champion)", champion=True, **stable(0.80), validity_buys_auc=0.70, **{"behaviour/n_segments": 8})
    near = run("b", **stable(0.82), validity_buys_auc=0.71, **{"behaviour/n_segments": 6})
    better = run("c", **stable(0.90), validity_buys_auc=0.70, **{"behaviour/n_segments": 8})
    mixed = run("d", **stable(0.90), validity_buys_auc=0.60, **{"behaviour/n_segments": 8})

    def said(*runs: dict[str, Any]) -> str:
        return advice(runs, given).said(wording("en"))

    assert said(near, champion) == "Keep a (champion): no run is better by more than promote tolerates."
    assert said(champion, better).startswith(
        "Take c (kindred promote): a (champion) is worse in behaviour/stability_mean."
    )
    assert re.match(
        r"No run is clearly preferable, .* a \(champion\) is worse in behaviour/stability_mean; d is worse in validity_buys_auc\.",
        said(champion, mixed),
    )
    assert said(near, run("e", **stable(0.8), **{"behaviour/n_segments": 8})).startswith("Take b ")
    assert "No advice" in said(run("f", **{"behaviour/silhouette": 0.2}), champion)
    assert "different moments" in said(champion, run("g", as_of="1 June", **stable(0.8)))
    restless = run("h", **{**stable(0.80), "interest/stability_mean": 0.5})
    assert said(restless, run("i", **stable(0.80))).startswith("Take i")
    assert "h is worse in interest/stability_mean" in said(restless, run("i", **stable(0.80)))


def test_two_trainings_side_by_side(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    behaviour, interest = facets_of(given)
    fewer = with_facets(given, [behaviour.with_settings(n_segments=4), interest.with_settings(n_segments=3)])
    second = train(fewer, sweep=False, progress=quiet)
    rename(given, first.segments.segment_id[0], "Our <gold>")
    in_albanian = given.model_copy(update={"language": "sq"})
    told = compare(in_albanian, [first.run_id[:10], second.run_id], flow=True, progress=quiet)
    assert re.search(r"facets\.behaviour\.n_segments +6 +4", told)
    assert re.search(r"facets\.interest\.n_segments +5 +3", told)
    for facet in ("behaviour", "interest"):
        assert re.search(rf"{facet}/stability_mean +0\.\d+ +0\.\d+", told)
    assert f"{first.run_id[:12]} (champion)" in told and "Our <gold>" in told
    assert re.search(
        r"Of [\d,]+ customers, \d+% are in the segment with the same ID in both; agreement .* 0\.\d\d", told
    )
    assert re.search(r"\n(Keep|Take|No run)", told)
    # All customers are told of, either in a flow or as grouped by rule.
    known, alike = (
        int(found.replace(",", "")) for found in re.findall(r"([\d,]+) (?:customers, \d|more customers are)", told)
    )
    assert known + alike == first.segments.customer_count[first.segments.facet == "behaviour"].sum()
    mlflow = mlflow_runs.open_store(given)
    place = Path(told.rpartition("Report   ")[2])
    html = place.read_text()
    assert html.count("<path") > 5 and "<script" not in html and "Our &lt;gold&gt;" in html
    assert "Our <gold>" not in html
    names = mlflow_runs.read_run(mlflow, first.run_id)[2]["segments"][1]["names"]
    assert '<html lang="sq">' in html and names["sq"] in html and names["en"] in told
    other = mlflow.MlflowClient().list_artifacts(second.run_id, "compare")
    assert [one.path for one in other] == [f"compare/with-{first.run_id[:8]}.html"]
    assert not re.findall(r"(?:src|href)=|url\(|https?://", html)


def test_names_are_in_the_language_of_the_page_but_those_given_by_hand(params: Callable[..., Params]) -> None:
    rows = [{"segment_id": one, "name": "VIP!", "names": {"en": "VIP", "sq": "VIP-të"}} for one in ("s01", "s02")]
    told = {"language": "uk", "segments": rows}
    found = _names(told, {"s02": "Our gold"}, params(), "sq")
    assert (found["s01"], found["s02"], found["standing-returned"]) == ("VIP-të", "Our gold", "Të rikthyer")
    as_trained = _names(told, {}, params(), None)
    assert (as_trained["s01"], as_trained["standing-returned"]) == ("VIP!", "Повернулися")


def test_without_flow_and_where_it_cannot_be_had(params: Callable[..., Params]) -> None:
    given = params()
    mlflow = mlflow_runs.open_store(given)
    ids = []
    for name in ("one", "two"):
        with mlflow_runs.run(mlflow, name=name, tags={}) as run_id:
            ids.append(run_id)
            mlflow.log_metric("behaviour/stability_mean", 0.5)
    told = compare(given, ids, flow=False, progress=quiet)
    assert "is shown with --flow" in told
    assert "cannot be shown" in compare(given, ids, flow=True, progress=quiet)
    with pytest.raises(mlflow_runs.TrackingError, match="two different runs"):
        compare(given, [ids[0], ids[0][:9]], flow=False, progress=quiet)
    with pytest.raises(mlflow_runs.TrackingError, match="expected the id of a run"):
        compare(given, [ids[0], "nosuchrun"], flow=False, progress=quiet)
