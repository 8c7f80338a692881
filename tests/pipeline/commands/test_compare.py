"""Comparing runs: differences, flows between segments, and the advice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.commands.compare import advice, compare, segment_names
from pipeline.commands.rename import rename
from pipeline.commands.train import TrainingResult, train
from pipeline.config.facets import facets_of, with_facets
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.report.comparison import Advice, ComparedRun, comparison
from pipeline.report.pages.flow_figure import flow_figure
from pipeline.report.pages.render import render_template
from pipeline.report.parts.segment import Segment
from pipeline.report.texts.languages import read_texts
from pipeline.report.texts.wording import wording
from pipeline.scoring.flow import flow_table
from pipeline.stores import mlflow_runs
from pipeline.stores.run_log import start_run
from pipeline.stores.store_errors import TrackingError
from tests.pipeline.report.test_report import segment as report_segment


def expand_flows(*groups: tuple[str, str, int]) -> tuple[pd.Series, pd.Series]:
    """Expand (segment before, segment after, customer count) into two series by customer."""
    before = [origin for origin, _, count in groups for _ in range(count)]
    after = [destination for _, destination, count in groups for _ in range(count)]
    ids = [f"c{number}" for number in range(len(before))]
    return pd.Series(before, ids), pd.Series(after, ids)


def test_flows_by_hand() -> None:
    flows = ("s01", "s01", 60), ("s01", "s02", 12), ("s02", "s02", 40), ("s02", "s01", 3), ("s03", "s03", 30)
    before, after = expand_flows(*flows, ("s03", "s01", 20), ("s01", "s03", 31), ("s02", "s03", 25), ("s03", "s02", 24))
    # Only customers known to both models count, and their order does not matter.
    after = pd.concat([after.sample(frac=1, random_state=0), pd.Series(["s01"] * 40, [f"new{n}" for n in range(40)])])
    result = flow_table(before, after, min_group=10)
    assert result["customer_count"] == 250  # 245, rounded
    assert result["stayed_share"] == pytest.approx(130 / 250)
    # Sizes of segments are known, so three flows are hidden with that of three customers.
    assert result["hidden_count"] == 4
    assert result["flows"] == [
        {"origin": "s01", "destination": "s01", "customer_count": 60},
        {"origin": "s02", "destination": "s02", "customer_count": 40},
        {"origin": "s01", "destination": "s03", "customer_count": 30},
        {"origin": "s03", "destination": "s02", "customer_count": 20},
        {"origin": "s01", "destination": "s02", "customer_count": 10},
    ]
    assert flow_table(before, before, min_group=1)["agreement"] == 1.0


def test_ids_of_unrelated_runs_are_not_the_same_segments() -> None:
    """s01 after is s02 before, and s02 after matches no segment. Lifecycle stages are the same in every run."""
    groups = (
        ("s02", "s01", 40),
        ("s01", "s02", 10),
        ("s01", "s03", 10),
        ("s01", "standing-lost", 10),
        ("standing-lost", "s01", 2),
    )
    result = flow_table(*expand_flows(*groups), min_group=1, min_jaccard=0.4)
    assert result["same"] == {"s01": "s02", "standing-lost": "standing-lost"}
    assert result["stayed_share"] == pytest.approx(40 / 72)
    runs = [
        ComparedRun(
            label=label,
            params={},
            figures={},
            segments=[segment("s01", "1"), segment("s02", "2")],
            line=frozenset({label}),
            names={"s01": f"{label} 1", "s02": f"{label} 2"},
        )
        for label in ("a", "b")
    ]
    contents = comparison(
        runs, [[{"facet": "behaviour", **result}]], wording("en"), advice=Advice("none"), flow_note=""
    )
    assert contents["segments"] == [
        ["s01", "a 1 (50%)", "-"],
        ["s02", "a 2 (50%)", "b 1 (50%)"],
        ["s02", "-", "b 2 (50%)"],
    ]
    assert "are in segments that have most of their customers in common" in contents["flows"][0]["text"]
    assert [band.kind for band in contents["flows"][0]["figure"].bands].count("same") == 1
    without = comparison(runs, [], wording("uk"), advice=Advice("none"), flow_note="")
    assert [row[1:] for row in without["segments"]].count(["a 1 (50%)".replace("50%", "50\xa0%"), "-"]) <= 1
    assert len(without["segments"]) == 4 and "--flow" in without["notes"][0]
    same_lineage = [replace(run, line=frozenset({"a", run.label})) for run in runs]
    assert len(comparison(same_lineage, [], wording("en"), advice=Advice("none"), flow_note="")["segments"]) == 2
    shaky = [segment("s01", "1"), segment("s02", "2", is_stable=False)]
    runs[0] = replace(runs[0], segments=shaky)
    contents = comparison(
        runs, [[{"facet": "behaviour", **result}]], wording("en"), advice=Advice("none"), flow_note=""
    )
    assert contents["segments"][1] == ["s02", "a 2 (unstable segment) (50%)", "b 1 (50%)"]
    assert contents["flows"][0]["rows"][0] == {
        "origin": "a 2 (unstable segment)",
        "destination": "b 1",
        "customers": "40",
    }


def test_metrics_that_are_zero_or_missing_in_all_runs_are_left_out() -> None:
    nothing = {"queries/learned": 0.0, "spend": float("nan"), "behaviour/segments_unstable": 0.0}
    runs = [
        replace(run(label, **nothing, **more), line=frozenset({"a"}))
        for label, more in (
            ("a", {"queries/by_words": 0.0}),
            ("b", {"queries/by_words": 2.0, "queries/abstained": 0.0}),
        )
    ]
    contents = comparison(runs, [], wording("en"), advice=Advice("none"), flow_note="")["figures"]
    # A count of 0 unstable segments is worth showing, because fewer are better.
    assert contents == [["behaviour/segments_unstable", "0", "0"], ["queries/by_words", "0", "2"]]


@pytest.mark.parametrize("language", ["uk", "ru", "sq"])
def test_the_page_is_in_its_language(language: str) -> None:
    groups = ("s01", "s01", 40), ("s01", "s02", 3), ("standing-lost", "standing-lost", 5)
    flow = flow_table(*expand_flows(*groups), min_group=10)
    runs = [
        replace(run(label, as_of=as_of, **{"behaviour/stability_mean": 0.8}), line=frozenset({"a"}))
        for label, as_of in (("a", "1 May"), ("b", "2 May"))
    ]
    best = Advice("undecided", behind={"a": ["behaviour/stability_mean"]}, warning="dates")
    words = wording(language)
    contents = comparison(
        runs, [[{"facet": "behaviour", **flow}]], words, advice=best, flow_note=words("compare.no_flow")
    )
    page = re.sub(
        r"<style>.*?</style>|<[^>]+>", " ", render_template("compare.html.j2", words=words, **contents), flags=re.DOTALL
    )
    english = {key: text for key, text in read_texts("en").items() if isinstance(text, str)}
    keys = {
        "compare.title",
        "compare.settings",
        "compare.figure",
        "compare.colours",
        "compare.inside",
        "sizes.customers",
    }
    assert not [key for key in keys if english[key].partition("{")[0].strip() in page]
    assert words("compare.warning.dates") in page and words("compare.colours") in page
    assert words("compare.flow_by_rule", count=10) in page and words("compare.flow_hidden", count=2) in page


def test_customers_grouped_by_rule_in_both_models_are_left_out() -> None:
    before, after = expand_flows(
        *(("standing-lost", "standing-lost", 70), ("standing-lost", "standing-cart", 5)),
        *(("standing-lost", "s01", 3), ("s01", "s01", 9)),
    )
    result = flow_table(before, after, min_group=1)
    assert (result["customer_count"], result["by_rule_count"]) == (12, 75)
    assert result["stayed_share"] == pytest.approx(9 / 12)
    assert [flow["customer_count"] for flow in result["flows"]] == [9, 3]


def test_no_customers_in_common() -> None:
    before, after = expand_flows(("s01", "s02", 3))
    result = flow_table(before, after.add_prefix("other-"), min_group=1)
    assert (result["customer_count"], result["flows"], result["stayed_share"]) == (0, [], 0.0)
    assert flow_figure([], [{}, {}], wording("en")).bands == []


def test_bands_fill_their_segments() -> None:
    flows = [
        {"origin": "s01", "destination": "s01", "customer_count": 30},
        {"origin": "s02", "destination": "s02", "customer_count": 20},
        {"origin": "s01", "destination": "s02", "customer_count": 10},
    ]
    result = flow_figure(flows, [{"s01": "VIP", "s02": "Lost"}, {"s01": "VIP"}], wording("en"))
    assert [node.label for node in result.nodes] == ["VIP", "Lost", "VIP", "s02"]
    heights = [node.height for node in result.nodes]
    assert heights == pytest.approx([40 / 60 * 60, 20, 30, 30])  # 2 x 38 less a gap of 16: one pixel a customer
    assert [band.kind for band in result.bands] == ["same", "moved", "same"]
    assert result.bands[1].title == "VIP → s02: 10 customers"
    # The second band starts 30 below the first and ends at the top of the right-hand s02, which is at 30 + 16.
    assert result.bands[1].path.startswith("M252.0,30.0C480.0,30.0 480.0,46.0 708.0,46.0V56.0")


def segment(segment_id: str, name: str, **changes: Any) -> Segment:
    return Segment.model_validate(report_segment(segment_id, name, **changes) | {"stages": []})


def run(
    label: str, *, champion: bool = False, as_of: str = "1 May", digest: str = "d", **figures: float
) -> ComparedRun:
    return ComparedRun(
        label=label,
        params={"as_of": as_of},
        figures=figures,
        segments=[],
        line=frozenset({label}),
        is_champion=champion,
        digest=digest,
    )


def test_advice(params: Callable[..., Params]) -> None:
    def stable(mean: float) -> dict[str, float]:
        return {"behaviour/stability_mean": mean, "interest/stability_mean": 0.9}

    settings = params("promote.tolerance=0.05", "promote.validity_tolerance=0.02")
    champion = run(
        "a (champion)", champion=True, **stable(0.80), **{"validity/buys_auc": 0.70, "behaviour/n_segments": 8}
    )
    near = run("b", **stable(0.82), **{"validity/buys_auc": 0.71, "behaviour/n_segments": 6})
    better = run("c", **stable(0.90), **{"validity/buys_auc": 0.70, "behaviour/n_segments": 8})
    mixed = run("d", **stable(0.90), **{"validity/buys_auc": 0.60, "behaviour/n_segments": 8})

    def advice_text(*runs: ComparedRun) -> str:
        return advice(runs, settings).text(wording("en"))

    assert advice_text(near, champion) == "Keep a (champion): no run is better by more than kindred promote allows."
    assert advice_text(champion, better).startswith(
        "Take c (kindred promote): a (champion) is worse in behaviour/stability_mean."
    )
    assert re.match(
        r"No run is clearly better, .* a \(champion\) is worse in behaviour/stability_mean; d is worse in validity/buys_auc\.",
        advice_text(champion, mixed),
    )
    assert advice_text(near, run("e", **stable(0.8), **{"behaviour/n_segments": 8})).startswith("Take b ")
    assert "No advice" in advice_text(run("f", **{"behaviour/silhouette": 0.2}), champion)
    assert "different dates" in advice_text(champion, run("g", as_of="1 June", **stable(0.8)))
    restless = run("h", **{**stable(0.80), "interest/stability_mean": 0.5})
    assert advice_text(restless, run("i", **stable(0.80))).startswith("Take i")
    assert "h is worse in interest/stability_mean" in advice_text(restless, run("i", **stable(0.80)))


def test_comparing_two_trainings(params: Callable[..., Params], champion: TrainingResult) -> None:
    settings, first = params(), champion
    behaviour, interest = facets_of(settings)
    fewer = with_facets(settings, [behaviour.with_settings(n_segments=4), interest.with_settings(n_segments=3)])
    second = train(fewer, sweep=False, progress=SILENT)
    rename(settings, first.segments.segment_id[0], "Our <gold>")
    in_albanian = settings.model_copy(update={"language": "sq"})
    output = compare(in_albanian, [first.run_id[:10], second.run_id], flow=True, progress=SILENT)
    assert re.search(r"facets\.behaviour\.n_segments +6 +4", output)
    assert re.search(r"facets\.interest\.n_segments +5 +3", output)
    for facet in ("behaviour", "interest"):
        assert re.search(rf"{facet}/stability_mean +0\.\d+ +0\.\d+", output)
    assert f"{first.run_id[:12]} (champion)" in output and "Our <gold>" in output
    assert re.search(
        r"Of [\d,]+ customers, \d+% are in the segment with the same ID in both; agreement .* 0\.\d\d", output
    )
    assert re.match(r"Keep|Take|No run", output)  # what to do comes first
    # Every customer is reported, either in a flow or as grouped by rule.
    counts = [
        int(count.replace(",", "")) for count in re.findall(r"([\d,]+) (?:customers, \d|more customers are)", output)
    ]
    customer_count = first.segments.customer_count[first.segments.facet == "behaviour"].sum()
    assert [sum(counts[:2]), sum(counts[2:])] == pytest.approx([customer_count] * 2, abs=150)  # rounded
    # Each facet has its own flows.
    titles = [line for line in output.splitlines() if line in ("Behaviour", "Interests")]
    assert titles == ["Behaviour", "Interests"]
    place = Path(output.rpartition("Report   ")[2])
    html = place.read_text()
    assert html.count("<path") > 5 and "<script" not in html and "Our &lt;gold&gt;" in html
    assert "Our <gold>" not in html
    store = mlflow_runs.open_store(settings)
    names = mlflow_runs.read_run(store, first.run_id).summary["segments"][1]["names"]
    assert html.count("<svg") == 2
    assert '<html lang="sq">' in html and names["sq"] in html and names["en"] in output
    assert not re.findall(r"(?:src|href)=|url\(|https?://", html)
    # The comparison is a run of its own, and the compared runs are as they were.
    own = next(
        run for run in mlflow_runs.search_runs(store, [store.experiment_id]) if "kindred.compares" in run.data.tags
    )
    assert own.info.run_name == f"Compare {first.run_id[:12]} with {second.run_id[:12]}"
    assert own.data.tags["kindred.compares"] == f"{first.run_id}, {second.run_id}" and own.info.status == "FINISHED"
    assert own.info.run_id in place.parts
    for run_id in (first.run_id, second.run_id):
        assert not [artifact for artifact in store.client.list_artifacts(run_id) if "compare" in artifact.path]


def test_names_are_in_the_language_of_the_page_except_manual_ones(params: Callable[..., Params]) -> None:
    names = {"en": "VIP", "sq": "VIP-të"}
    rows = [segment(name, "VIP!", names=names, names_by_figures=names) for name in ("s01", "s02")]
    trained = replace(run("a"), segments=rows, language="uk")
    result = segment_names(trained, {"s02": "Our gold"}, params(), "sq")
    assert (result["s01"], result["s02"], result["standing-returned"]) == ("VIP-të", "Our gold", "Të rikthyer")
    as_trained = segment_names(trained, {}, params(), None)
    assert (as_trained["s01"], as_trained["standing-returned"]) == ("VIP!", "Повернулися")


def test_without_flow_and_when_it_is_unavailable(params: Callable[..., Params]) -> None:
    settings = params()
    store = mlflow_runs.open_store(settings)
    ids = []
    for name in ("one", "two"):
        with start_run(store, name=name, tags={}) as run:
            ids.append(run.run_id)
            run.log_metrics({"behaviour/stability_mean": 0.5})
    output = compare(settings, ids, flow=False, progress=SILENT)
    assert "add --flow" in output and "did not finish" not in output
    assert "cannot be shown" in compare(settings, ids, flow=True, progress=SILENT)
    with pytest.raises(TrackingError, match="two different runs"):
        compare(settings, [ids[0], ids[0][:9]], flow=False, progress=SILENT)
    with pytest.raises(TrackingError, match="expected the id of a run"):
        compare(settings, [ids[0], "nosuchrun"], flow=False, progress=SILENT)
    store.client.set_terminated(ids[1], "KILLED")
    output = compare(settings, ids, flow=False, progress=SILENT)
    assert output.count("did not finish") == 1 and f"Run {ids[1][:12]} did not finish: it was stopped" in output
