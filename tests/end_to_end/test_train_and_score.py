"""Training and scoring a small shop from log to report."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.journey import PASSING_STAGES
from features.searches import normalised_query
from models.disclosure import rounded_count, rounded_total, total_step
from models.queries import WAYS
from pipeline.cli import main, rare_garbage_collection
from pipeline.commands.score import ScoringResult, border_text, score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.config.sections.segments import IdentityParams
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.source import read_source
from pipeline.report.texts.cards import ALL_RETAINED
from pipeline.report.training_result import TrainingResult, facet_text
from pipeline.scoring.score_summary import HeldCustomers, ScoringSummary
from pipeline.stores import database, files, mlflow_runs, model_registry
from pipeline.stores.database import connect
from pipeline.stores.mlflow_runs import LINEAGE
from pipeline.stores.run_log import close_stale_runs, start_run
from pipeline.stores.run_metrics import describe_metric, experiment_description
from pipeline.stores.store_errors import TrackingError
from tests.segments import published_sizes

FACETS = ("behaviour", "interest")


def test_without_prices_no_share_of_spend_is_shown() -> None:
    columns = {"name": ["VIP", "Lost"], "customer_count": [1, 2], "is_small": False, "customer_share": [0.5, 0.5]}
    table = pd.DataFrame({**columns, "stability_word": "stable", "top_categories": [[], []], "is_stable": True})
    text = [facet_text("a", table.assign(spend_share=shares)).count("%") for shares in ([0.0, None], [0.0, 0.4])]
    assert text == [2, 4]


def test_unstable_segments_are_labelled() -> None:
    columns = {
        "name": ["Regulars", "Lost"],
        "customer_count": [1, 2],
        "is_small": False,
        "customer_share": 0.5,
        "spend_share": 0.5,
    }
    stability = {"is_stable": [False, True], "stability_word": ["unstable", "stable"]}
    text = facet_text("behaviour", pd.DataFrame({**columns, **stability, "top_categories": [[], []]}))
    assert text.startswith("Behaviour ")
    assert re.search(r"^Regulars \(unstable segment\) .*\nLost  ", text, re.MULTILINE)


@pytest.mark.parametrize(("held", "expected"), [(0, ""), (1, "; 1 kept"), (1200, "; 1,200 kept")])
def test_held_customers_are_reported_if_there_are_any(held: int, expected: str) -> None:
    counts = {"customer_count": 9, "low_evidence_count": 0, "noise_count": 0, "border_count": 3, "movable_count": 0}
    summary = ScoringSummary(**counts, facets={}, queries={}, new_categories={}, held=HeldCustomers(held, margin=0.1))
    text = border_text(summary)
    assert text.partition(" their previous")[0] == f"Near a border   3 customers{expected}"


def test_shares_of_spend_add_up_to_one_but_for_their_rounding(
    trained: tuple[Params, TrainingResult], scored: ScoringResult
) -> None:
    params, result = trained
    scores, min_group = pd.read_parquet(scored.path), params.naming.min_group
    net_spend = scores.spend - scores.returned_spend
    total = rounded_total(net_spend, min_group)
    for column in ("segment_id", "interest_segment_id"):
        shares = result.segments.set_index("segment_id").spend_share[scores[column].unique()]
        groups = net_spend.groupby(scores[column])
        # A sum is off by at most half a step, or by a whole one if it is smaller; that of a hidden group is missing.
        steps = groups.apply(total_step, min_group)
        steps = steps.where(groups.sum() < steps, steps / 2)
        errors = steps.where(shares.notna(), groups.sum())
        bound = (errors.sum() + total_step(net_spend, min_group) / 2) / total
        assert abs(shares.sum() - 1.0) <= bound
        shown = shares.dropna()
        exact = groups.sum()[shown.index] / total
        assert ((shown - exact).abs() <= steps[shown.index] / total + 1e-9).all() and len(shown)


def test_names_are_unique_and_every_customer_has_a_segment(trained: tuple[Params, TrainingResult]) -> None:
    segments = trained[1].segments
    assert segments.segment_id.is_unique
    assert list(segments.facet.unique()) == [*FACETS]
    for _, own in segments.groupby("facet"):
        for language in ("en", "uk", "ru", "sq"):
            assert own.names.map(lambda names, language=language: names[language]).is_unique
        assert own.customer_share.sum() == pytest.approx(1.0, abs=0.05)  # rounded
    own = segments[~segments.is_standing].set_index("facet")
    kinds = {
        name.split(",")[0] for name in own.name["behaviour"]
    }  # without the addition that distinguishes similar segments
    assert {"Regulars", "Lost", "Occasional buyers"} <= kinds
    for row in own.loc["interest"].itertuples():
        levels = {level for item in row.top_categories for level in item["category"].split(" > ")}
        assert any(level in row.name for level in levels), row.name


def test_the_run_contains_all_metrics_and_artifacts(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    client = mlflow_runs.open_store(params).client
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    for facet in FACETS:
        kinds = ("silhouette", "davies_bouldin", "stability_mean", "noise_share")
        assert {f"{facet}/{kind}" for kind in kinds} <= set(run.data.metrics)
    assert run.data.params["interests.kappa"] == str(params.interests.kappa)
    assert {"report.html", "summary.json", "segments.json", "figures"} <= {
        artifact.path for artifact in client.list_artifacts(result.run_id)
    }
    drawn = {
        place: {Path(artifact.path).stem for artifact in client.list_artifacts(result.run_id, f"figures{place}")}
        for place in ("", "/behaviour", "/interest")
    }
    assert drawn[""] == {*FACETS, "crossing"}
    assert {"segment_sizes", "value_by_segment", "map"} <= drawn["/behaviour"]
    assert drawn["/interest"] == {"segment_sizes", "value_by_segment", "interests_by_segment"}
    champion = client.get_model_version_by_alias("kindred", "champion")
    assert champion.run_id == result.run_id
    assert run.info.run_name == f"Segments of {params.as_of:%Y-%m-%d}: 6 by behaviour and 5 by interest"
    described = run.data.tags["mlflow.note.content"]
    assert described == champion.description
    assert all(name.replace("|", r"\|") in described for name in result.segments.name)
    experiment = client.get_experiment(run.info.experiment_id)
    explained = experiment.tags["mlflow.note.content"]
    assert explained == experiment_description() and "behaviour/stability_mean" in explained
    assert [metric for metric in run.data.metrics if describe_metric(metric) is None] == []


def test_no_personal_data_reaches_the_store(trained: tuple[Params, TrainingResult], shop: Path) -> None:
    params, _ = trained
    known = {ident.encode() for ident in pq.read_table(shop / "customers.parquet")["customer_id"].to_pylist()}
    assert len(known) > 100
    folder = params.path(params.tracking.artifacts)
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    texts.append(params.path("mlflow.db").read_bytes() if params.path("mlflow.db").exists() else b"")
    texts.append(Path(mlflow_runs.tracking_uri(params).removeprefix("sqlite:///")).read_bytes())
    texts += [path.read_bytes() for path in params.path(params.outputs.folder).glob("*.html")]
    assert not known & set(re.findall(rb"c\d{7}", b"\n".join(texts)))
    assert os.environ.get("USER", "no such person").encode() not in b"".join(
        line for text in texts for line in text.splitlines() if b"mlflow.user" in line
    )


def test_scores_have_the_agreed_columns_are_repeatable_and_match_training(
    trained: tuple[Params, TrainingResult], scored: ScoringResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (params, result), second = trained, scored
    first = score(params, model_uri="models:/kindred@champion", out=tmp_path / "a.parquet", progress=SILENT)
    assert (tmp_path / "a.parquet").read_bytes() == second.path.read_bytes()
    table = pq.read_table(first.path)
    assert table.column_names == [
        *("customer_id", "as_of", "segment_id", "segment", "cluster_id", "strength", "next_segment_id", "next_segment"),
        *(
            "margin",
            "is_border",
            "what_would_move",
            "is_stable",
            "evidence",
            "lifecycle_stage",
            "temperature",
            "rfm_group",
            "value_tier",
        ),
        *("days_since_last_purchase", "order_count", "spend", "top_categories", "model_uri", "run_id"),
        *("journey_events", "usual_interval_days", "interval_variation", "holiday_order_share", "gift_order_share"),
        *(
            "payday_order_share",
            "campaign_response",
            "click_rate",
            "next_tier",
            "next_tier_needs",
            "redemptions_per_order",
            "returned_spend",
            "activity",
        ),
        *("recency_score", "frequency_score", "monetary_score"),
        *("buy_probability", "expected_spend", "alive_probability"),
        *("interest_segment_id", "interest_segment", "interest_cluster_id", "interest_strength"),
        *("next_interest_segment_id", "next_interest_segment", "interest_margin", "is_interest_border"),
        *("is_interest_stable", "interest_evidence"),
    ]
    frame = table.to_pandas()
    assert frame.customer_id.is_monotonic_increasing
    assert frame.customer_id.is_unique
    by_rule = frame.segment_id.str.startswith("standing-")
    for certainty in ("strength", "margin"):
        assert frame[certainty][~by_rule].between(0, 1).all() and frame[certainty][by_rule].isna().all()
    assert frame.is_stable.isna().tolist() == by_rule.tolist()
    has_bought = frame.days_since_last_purchase.notna()
    for name in ("recency_score", "frequency_score", "monetary_score"):
        assert frame[name][has_bought].isin(range(1, 6)).all()
        assert frame[name][~has_bought].isna().all()
    assert frame.buy_probability.between(0, 1).all()
    assert (frame.alive_probability >= frame.buy_probability).all()
    assert (frame.expected_spend > 0).all()
    assert frame.buy_probability.corr(frame.activity, method="spearman") > 0.5
    assert frame[frame.evidence == "low"].cluster_id.isna().all()
    assert not frame.what_would_move[~frame.is_border].notna().any()
    assert set(frame.interest_evidence) <= {"ok", "low", "broad"}
    unknown = frame[frame.interest_evidence == "low"]
    assert len(unknown) and unknown.interest_cluster_id.isna().all()
    assert set(unknown.interest_segment_id) == {"standing-unknown"}
    assert frame.interest_segment_id[frame.interest_evidence != "low"].str.fullmatch(r"i\d\d|broad").all()
    known = frame[frame.interest_evidence != "low"]
    assert known.interest_strength.between(0, 1).all() and known.interest_margin.between(0, 1).all()
    assert unknown[["interest_strength", "interest_margin", "is_interest_stable"]].isna().all(axis=None)
    movable = frame[frame.what_would_move.notna()]
    assert set(movable.what_would_move.str.split(" -> ").str[1]) <= set(result.segments.name)
    assert (movable.what_would_move.str.split(" -> ").str[1] != movable.segment).all()
    for facet, prefix in (("behaviour", ""), ("interest", "interest_")):
        own = result.segments[result.segments.facet == facet].set_index("segment_id")
        column = frame[f"{prefix}segment_id"]
        assert published_sizes(column) == own.customer_count.to_dict()
        assert column.map(own["name"]).equals(frame[f"{prefix}segment"])
        assert f"{facet.capitalize()} " in first.as_text()
        shares = {key: row.customer_share for key, row in first.summary.facets[facet].segments.items()}
        assert shares == pytest.approx(own.customer_share.to_dict())

    segments = explained_segments(first, frame.customer_id.iloc[0], capsys)
    assert [line.split(" (")[0].split(None, 1) for line in segments] == [
        ["Behaviour", frame.segment.iloc[0]],
        ["Interest", frame.interest_segment.iloc[0].split(" (")[0]],
    ]
    assert f"kindred explain CUSTOMER --model {result.model_uri} --" in second.as_text()


def test_cards_show_how_many_customers_stayed(
    trained: tuple[Params, TrainingResult], scored: ScoringResult, tmp_path: Path
) -> None:
    params, result = trained
    days = params.backtest.horizon_days
    before = params.model_copy(update={"as_of": params.as_of - timedelta(days=days)})
    earlier = score(before, model_uri=result.model_uri, out=tmp_path / "earlier.parquet", progress=SILENT)
    then, now = (
        pq.read_table(each.path)
        .to_pandas()
        .set_index("customer_id")[["segment_id", "interest_segment_id"]]
        .set_axis(FACETS, axis=1)
        for each in (earlier, scored)
    )
    has_stayed = now.reindex(then.index) == then
    retention = result.segments.set_index("segment_id").retention
    own = result.segments.set_index("segment_id").facet
    assert retention[own == "behaviour"].notna().sum() >= 6 and retention[own == "interest"].notna().sum() >= 2
    few = params.naming.min_group
    for segment_id, row in retention.dropna().items():
        before, after = then[own[segment_id]] == segment_id, now[own[segment_id]].reindex(then.index) == segment_id
        left, came = (before & ~after).sum(), (~before & after).sum()
        step = few / before.sum()  # numbers of customers are rounded
        assert before.sum() >= few and (row["days"], row["is_sample"]) == (days, False)
        if row["share"] is not None:
            share = has_stayed[own[segment_id]][before].mean()
            assert row["share"] == pytest.approx(share, abs=0.005 if 0 < left < few else step)
        if row["net_share"] is not None:
            is_few = 0 < left < few or 0 < came < few
            assert row["net_share"] == pytest.approx((came - left) / before.sum(), abs=0.005 if is_few else 2 * step)
            assert row["net_share"] == 0.0 or not is_few
        assert (row["share"], row["net_share"]) != (None, None)
    # Cards of passing stages have no line if all stayed; customers without interests have no card.
    has_line = retention.drop("standing-unknown").dropna()
    has_line = has_line[[row["share"] is not None for row in has_line]]
    says_nothing = [
        segment_id.removeprefix("standing-") in PASSING_STAGES and row["share"] >= ALL_RETAINED
        for segment_id, row in has_line.items()
    ]
    page = result.report_path.read_text()
    assert page.count(" earlier are still in it.") == len(has_line) - sum(says_nothing)


def explained_segments(scored: ScoringResult, customer: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The segments shown by the next command that scoring suggests, for one customer."""
    (command,) = re.findall(r"^Next +kindred (explain CUSTOMER.*)$", scored.as_text(), re.MULTILINE)
    words = shlex.split(command, comments=True)
    assert main([customer if word == "CUSTOMER" else word for word in words]) == 0
    return re.findall(r"^(?:Behaviour|Interest) .*$", capsys.readouterr().out, re.MULTILINE)


def test_new_customers_are_scored_with_the_names_and_weights_of_the_model(
    trained: tuple[Params, TrainingResult], scored: ScoringResult, tmp_path: Path
) -> None:
    params, result = trained
    later = params.model_copy(update={"as_of": params.as_of.replace(month=12), "language": "uk"})
    with_new = score(later, model_uri=result.model_uri, out=tmp_path / "later.parquet", progress=SILENT)
    assert with_new.summary.customer_count > scored.summary.customer_count
    for facet, counts in with_new.summary.facets.items():
        own = result.segments[result.segments.facet == facet]
        assert {row.name for row in counts.segments.values()} & set(own.name)


def test_hysteresis_holds_customers_near_a_border_and_reports_how_many(
    trained: tuple[Params, TrainingResult], tmp_path: Path
) -> None:
    params, result = trained
    later = params.model_copy(
        update={
            "as_of": params.as_of + timedelta(days=14),
            "score": params.score.model_copy(update={"hysteresis": 0.1}),
        }
    )
    uri, path = result.model_uri, tmp_path / "held.parquet"
    free = score(later, model_uri=uri, out=tmp_path / "free.parquet", progress=SILENT)
    assert free.summary.held is None  # there are no previous scores
    before = pq.read_table(score(params, model_uri=uri, out=path, progress=SILENT).path).to_pandas()
    first = score(later, model_uri=uri, out=path, progress=SILENT)
    held = first.summary.held.customer_count if first.summary.held else 0
    assert held > 0
    assert f"{held:,} kept their previous segment" in first.as_text()
    held_scores, free_scores = (pq.read_table(each).to_pandas().set_index("customer_id") for each in (path, free.path))
    all_held: set[str] = set()
    for prefix in ("", "interest_"):
        ids, margins = f"{prefix}segment_id", f"{prefix}margin"
        differ = held_scores.index[held_scores[ids] != free_scores[ids]]
        assert len(differ)
        assert (held_scores[ids][differ] == before.set_index("customer_id")[ids][differ]).all()
        assert (free_scores[margins][differ] < 0.1).all()
        all_held |= set(differ)
    assert rounded_count(len(all_held), params.naming.min_group) == held
    once = path.read_bytes()
    score(later, model_uri=uri, out=path, progress=SILENT)
    assert path.read_bytes() == once


def test_a_model_can_score_after_its_run_is_deleted(
    trained: tuple[Params, TrainingResult], tmp_path: Path, monkeypatch: Any
) -> None:
    params, result = trained

    def deleted(store: Any, run_id: str) -> None:
        raise TrackingError("no such run")

    monkeypatch.setattr(mlflow_runs, "read_run", deleted)
    scored = score(params, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    assert "Drift           unknown" in scored.as_text()
    assert (tmp_path / "scores-manifest.json").exists()


def test_row_order_does_not_change_the_model(
    params: Callable[..., Params], shop: Path, champion: TrainingResult, tmp_path: Path
) -> None:
    events = pq.read_table(shop / "events").combine_chunks()
    order = np.random.default_rng(1).permutation(events.num_rows)
    pq.write_table(events.take(order), tmp_path / "shuffled.parquet")
    other = params(f"source.events.path={tmp_path / 'shuffled.parquet'}")
    first, second = champion, train(other, sweep=False, progress=SILENT)
    assert first.segments.dtypes.equals(second.segments.dtypes)
    # Exactly, also in dicts, in which a missing figure would not equal itself.
    pd.testing.assert_frame_equal(first.segments.map(repr), second.segments.map(repr))
    survived = {
        row["segment_id"] for row in second.lineage if row["run_id"] == second.run_id and row["verdict"] == "survived"
    }
    assert survived == set(first.segments.segment_id[~first.segments.is_standing])
    from mlflow.artifacts import download_artifacts

    mlflow_runs.open_store(other)
    folders = [Path(download_artifacts(each.model_uri)) for each in (first, second)]
    for name in (
        "segmentation/facets.json",
        *(f"segmentation/{facet}/{part}" for facet in FACETS for part in ("model.json", "arrays.npz")),
        "shop/spec.json",
        "shop/queries.json",
        "shop/queries.npz",
    ):
        assert (folders[0] / "artifacts" / name).read_bytes() == (folders[1] / "artifacts" / name).read_bytes(), name


@pytest.mark.parametrize(("policy", "suffix"), [("keep", "parquet"), ("nearest", "parquet"), ("standing", "csv")])
def test_hdbscan_trains_and_scores_noise_as_trained(
    params: Callable[..., Params], tmp_path: Path, policy: str, suffix: str
) -> None:
    settings = params(
        *("facets.behaviour.algorithm=hdbscan", "clustering.hdbscan.fit_customers=600", "quality.hdbscan_resamples=2"),
        *("quality.min_stability=0.1", f"facets.behaviour.noise={policy}", "facets.interest=null"),
    )
    result = train(settings, sweep=False, progress=SILENT)
    assert not result.segments.name.str.contains(r"\d").any()
    (note,) = (note for note in result.notes if "are between HDBSCAN's segments of behaviour" in note)
    assert note.endswith("Their evidence in the scores is noise.")
    scored = score(settings, model_uri=result.model_uri, out=tmp_path / f"scores.{suffix}", progress=SILENT)
    if suffix == "csv":
        assert scored.path.read_text().startswith('"customer_id","as_of","segment_id"')
    frame = pd.read_csv(scored.path) if suffix == "csv" else pq.read_table(scored.path).to_pandas()
    own = result.segments[result.segments.facet == "behaviour"].set_index("segment_id")
    assert published_sizes(frame.segment_id) == own.customer_count.to_dict()
    between = frame[frame.evidence == "noise"]
    assert rounded_count(len(between), 10) == scored.summary.noise_count > 0
    assert (between.cluster_id == -1).all() == (policy != "nearest")
    prefix = {"keep": "noise", "nearest": "s", "standing": "standing-"}[policy]
    assert between.segment_id.str.startswith(prefix).all()
    assert f"{scored.summary.noise_count:,} customers are between segments" in scored.as_text()


def test_a_log_that_ended_long_before_as_of(params: Callable[..., Params]) -> None:
    with pytest.raises(UserError, match=r"as_of: expected events in the 365 days .* The last event was at 2025"):
        train(params("as_of=2035-01-01T00:00:00Z"), sweep=False, progress=SILENT)


def test_a_later_training_is_the_challenger(champion_and_challenger: tuple[TrainingResult, TrainingResult]) -> None:
    assert [result.alias for result in champion_and_challenger] == ["champion", "challenger"]


def test_segments_keep_their_ids_under_another_seed_and_three_weeks_later(
    params: Callable[..., Params], champion_and_challenger: tuple[TrainingResult, TrainingResult]
) -> None:
    settings = params()
    first, again = champion_and_challenger  # of seed 99
    later = train(
        settings.model_copy(update={"as_of": settings.as_of + timedelta(days=21)}), sweep=False, progress=SILENT
    )
    store = mlflow_runs.open_store(settings)
    lineage = mlflow_runs.read_lineage(store, later.run_id, LINEAGE)
    # The challengers descend from the champion, not from each other.
    assert list(dict.fromkeys(row["run_id"] for row in lineage)) == [first.run_id, later.run_id]
    for result, lost, similarity in ((again, 0, "1.00"), (later, 1, "0.")):
        rows = [
            row for row in mlflow_runs.read_lineage(store, result.run_id, LINEAGE) if row["run_id"] == result.run_id
        ]
        for facet, letter, count in (("behaviour", "s", 6), ("interest", "i", 5)):
            own = [row for row in rows if row["facet"] == facet]
            here = {row["segment_id"] for row in own if row["is_here"]}
            kept = {row["segment_id"] for row in own if row["verdict"] == "survived"}
            segments = result.segments[(result.segments.facet == facet) & ~result.segments.is_standing]
            assert here == set(segments.segment_id) and all(segment_id.startswith(letter) for segment_id in here)
            assert kept <= set(first.segments.segment_id)
            assert len(kept) >= count - lost
            same = rf"(?s)Segments over trainings .*\n{letter}\d\d [^\n]* new +same, {re.escape(similarity)}"
            assert re.search(same, result.as_text())
    assert "<td>same, 0." in later.report_path.read_text()


def test_segment_ids_are_never_reused(
    params: Callable[..., Params], shop: Path, champion: TrainingResult, tmp_path: Path
) -> None:
    import pyarrow as pa

    settings = params()
    # With the same number of segments, clustering would start from the champion's.
    strict = params("facets.behaviour.n_segments=5", "facets.interest.n_segments=4").model_copy(
        update={"identity": IdentityParams(min_jaccard=1.0, min_part=0.5)}
    )
    products = pq.read_table(shop / "products.parquet")
    paths = pa.array([f"Rockets > {path}" for path in products["category_path"].to_pylist()])
    pq.write_table(products.set_column(1, "category_path", paths), tmp_path / "products.parquet")
    assert settings.source.products is not None
    elsewhere = settings.source.products.model_copy(update={"path": str(tmp_path / "products.parquet")})
    another = settings.model_copy(update={"source": settings.source.model_copy(update={"products": elsewhere})})
    # The champion, two challengers with few or no surviving segments, one of another shop, and one without a champion.
    results = [champion, *(train(changed, sweep=False, progress=SILENT) for changed in (strict, strict, another))]
    assert any("get new numbers" in note for note in results[3].notes)
    mlflow_runs.open_store(settings).client.delete_registered_model_alias("kindred", "champion")
    results.append(train(settings, sweep=False, progress=SILENT))
    assert results[-1].alias == "champion"
    ids = [set(result.segments.segment_id[~result.segments.is_standing]) for result in results]
    champions = ids[0]
    new_ids = [champions, *(own - champions for own in ids[1:])]
    assert len(set.union(*new_ids)) == sum(map(len, new_ids))
    for letter, least in (("s", 4), ("i", 3)):  # of 5, of 4
        assert min(sum(segment_id.startswith(letter) for segment_id in new) for new in new_ids[1:3]) >= least
    assert new_ids[3] == ids[3] and new_ids[4] == ids[4]


def test_stale_runs_are_closed(params: Callable[..., Params]) -> None:
    settings = params()
    store = mlflow_runs.open_store(settings)
    client, experiment = store.client, store.experiment_id
    with start_run(store, name="of this machine", tags={}) as run:
        machine = client.get_run(run.run_id).data.tags["kindred.process"].partition(":")[0]
    dead = client.create_run(experiment, tags={"kindred.process": f"{machine}:99999999"})
    elsewhere = client.create_run(experiment, tags={"kindred.process": "another:1"})
    assert close_stale_runs(store) == 1
    assert client.get_run(dead.info.run_id).info.status == "KILLED"
    assert client.get_run(elsewhere.info.run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    "uri",
    ["nosuch://ann:hush@host/db", "http://ann:hush@127.0.0.1:9", "nodriver+pg://ann:hush@host/db", "sqlite:///{}"],
)
def test_a_store_that_does_not_respond(
    params: Callable[..., Params], uri: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "broken.db").write_text("no database" * 99)
    with pytest.raises(TrackingError, match="expected an MLflow store that responds") as caught:
        mlflow_runs.open_store(params(f"tracking.uri={uri.format(tmp_path / 'broken.db')}"))
    assert "hush" not in str(caught.value)


def test_an_experiment_that_was_deleted(params: Callable[..., Params]) -> None:
    settings = params()
    store = mlflow_runs.open_store(settings)
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(TrackingError, match="deleted"):
        mlflow_runs.open_store(settings)


@pytest.mark.parametrize(
    "uri", ["models:/kindred@champion", "models:/nothing/1", "models:/kindred/999", "runs:/none/model"]
)
def test_a_model_that_does_not_exist(params: Callable[..., Params], uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kindred train"):
        score(params(), model_uri=uri, out=tmp_path / "scores.parquet", progress=SILENT)
    assert not (tmp_path / "scores.parquet").exists()


def test_two_trainings_at_once_in_one_folder(params: Callable[..., Params]) -> None:
    settings = params()
    with files.lock(settings.path(settings.outputs.folder)), pytest.raises(UserError, match="another kindred command"):
        train(settings, sweep=False, progress=SILENT)


def test_only_one_of_two_simultaneous_first_trainings_becomes_champion(
    params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version and alias are assigned under a lock, so no other command can assign them at the same time."""
    settings, logged = params(), model_registry.log_model

    def log_model(*arguments: Any, **named: Any) -> str:
        with (settings.path(settings.tracking.artifacts) / ".lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return logged(*arguments, **named)

    monkeypatch.setattr(model_registry, "log_model", log_model)
    assert train(settings, sweep=False, progress=SILENT).alias == "champion"


def test_new_categories_count_as_other_and_are_reported(
    trained: tuple[Params, TrainingResult], shop: Path, tmp_path: Path
) -> None:
    import pyarrow as pa

    params, result = trained
    products = pq.read_table(shop / "products.parquet")
    paths = ["Rockets > Moon" if "Cats" in path else path for path in products["category_path"].to_pylist()]
    pq.write_table(products.set_column(1, "category_path", pa.array(paths)), tmp_path / "products.parquet")
    source = params.source.model_copy(
        update={"products": params.source.products.model_copy(update={"path": str(tmp_path / "products.parquet")})}  # type: ignore[union-attr]
    )
    changed = params.model_copy(update={"source": source})
    scored = score(changed, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    assert list(scored.summary.new_categories) == ["Rockets > Moon"]
    assert "Rockets > Moon" in scored.as_text()
    assert "Warning" not in scored.as_text()


def test_a_model_of_another_shop_leaves_the_scores_unchanged(
    trained: tuple[Params, TrainingResult], shop: Path, tmp_path: Path
) -> None:
    import pyarrow as pa

    params, result = trained
    products = pq.read_table(shop / "products.parquet")
    paths = pa.array([f"Rockets > {path}" for path in products["category_path"].to_pylist()])
    pq.write_table(products.set_column(1, "category_path", paths), tmp_path / "products.parquet")
    assert params.source.products is not None
    events = params.source.events.model_copy(update={"timezone": "Europe/Kyiv"})
    elsewhere = params.source.products.model_copy(update={"path": str(tmp_path / "products.parquet")})
    source = params.source.model_copy(update={"events": events, "products": elsewhere})
    changed = params.model_copy(update={"source": source})
    out = tmp_path / "scores.parquet"
    out.write_text("old")
    with pytest.raises(UserError, match=r"belong to another one: `source` describes .* and \d+% .*--force"):
        score(changed, model_uri=result.model_uri, out=out, progress=SILENT)
    assert out.read_text() == "old"
    scored = score(changed, model_uri=result.model_uri, out=out, progress=SILENT, force=True)
    assert re.search(r"Warnings\n  - the model may be another shop's: `source` describes .* and \d+%", scored.as_text())
    same_products = params.model_copy(update={"source": params.source.model_copy(update={"events": events})})
    scored = score(same_products, model_uri=result.model_uri, out=out, progress=SILENT)
    assert re.search(
        r"Warnings\n  - the model may be another shop's: `source` describes [^%]*\. Train", scored.as_text()
    )


def test_the_manifest_has_the_digests_of_the_files(trained: tuple[Params, TrainingResult]) -> None:
    params, _ = trained
    folder = params.path(params.outputs.folder)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["outputs"].values():
        assert files.file_digest(folder / entry["file"]) == entry["sha256"]
    counts = manifest["row_counts"]
    assert counts["read_count"] == counts["accepted_count"] + counts["rejected_count"]


def test_the_report_has_one_script_and_no_external_links(trained: tuple[Params, TrainingResult]) -> None:
    text = trained[1].report_path.read_text()
    assert text.count("<script") == 1
    assert not re.findall(r"src=|href=(?!\"#[a-z0-9_-]+\")|url\(|https?://", text)
    for name in trained[1].segments.name:
        assert name.replace("&", "&amp;") in text


def test_events_all_after_as_of(params: Callable[..., Params]) -> None:
    with pytest.raises(SourceError, match="before any event"):
        train(params("as_of=2020-01-01T00:00:00Z"), sweep=False, progress=SILENT)


def test_the_local_copy_of_a_model_is_deleted_with_it(
    trained: tuple[Params, TrainingResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, result = trained
    store = mlflow_runs.open_store(settings)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = model_registry.load_model(store, result.model_uri)
    assert model.shop_folder.is_relative_to(tmp_path) and model.shop_folder.is_dir()
    message = r"^models:/kindred/999: expected a model that Kindred trained\..*[^.]\. There are: models:/"
    with pytest.raises(TrackingError, match=message):
        model_registry.load_model(store, "models:/kindred/999")
    del model
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert model_registry.load_model(store, result.model_uri).uri == result.model_uri  # the stored model is unchanged


def test_queries_are_reported_and_rare_ones_are_not_kept(
    trained: tuple[Params, TrainingResult], tmp_path: Path
) -> None:
    settings, result = trained
    store = mlflow_runs.open_store(settings)
    metrics = store.client.get_run(result.run_id).data.metrics
    assert metrics["queries/learned"] > 20 and metrics["queries/by_text"] > 20
    assert any(note.startswith("Searches: of ") for note in result.notes)
    model = model_registry.load_model(store, result.model_uri)
    kept = json.loads((model.shop_folder / "queries.json").read_text(encoding="utf-8"))["queries"]
    assert rounded_count(len(kept), settings.naming.min_group) == metrics["queries/learned"]
    with connect(settings.engine, folder=tmp_path) as con:
        events = read_source(con, settings, rejected_path=None).events
        events = events.mutate(query=normalised_query(events.query))
        typed = events.group_by("query").aggregate(customer_count=events.customer_id.nunique()).to_pandas()
    customers = typed.dropna().set_index("query").customer_count
    assert customers[kept].min() >= settings.searches.min_customers


def test_a_log_without_searches_trains_and_scores(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    events = pq.read_table(shop / "events", filters=[("event_type", "!=", "search")])
    pq.write_table(events, tmp_path / "silent.parquet")
    settings = params(f"source.events.path={tmp_path / 'silent.parquet'}")
    result = train(settings, sweep=False, progress=SILENT)
    assert not any(note.startswith("Searches") for note in result.notes)
    scored = score(settings, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    assert scored.summary.queries == dict.fromkeys(WAYS, 0)


def test_scores_do_not_depend_on_batches(
    trained: tuple[Params, TrainingResult], scored: ScoringResult, tmp_path: Path, monkeypatch: Any
) -> None:
    settings, result = trained
    assert 2_000 < pq.read_metadata(scored.path).num_rows < database.BATCH_ROWS
    monkeypatch.setattr(database, "BATCH_ROWS", 300)
    score(settings, model_uri=result.model_uri, out=tmp_path / "batches.parquet", progress=SILENT)
    assert scored.path.read_bytes() == (tmp_path / "batches.parquet").read_bytes()


def test_profiles_without_a_column_are_refused_without_showing_data(trained: tuple[Params, TrainingResult]) -> None:
    settings, result = trained
    model = model_registry.load_model(mlflow_runs.open_store(settings), result.model_uri)
    profile = pd.DataFrame({name: [0.5] for name in model.columns}).assign(lifecycle_stage="browsing")
    assert len(model.predict(profile)) == 1
    for wrong in (profile.drop(columns="spend"), profile.assign(spend="a secret")):
        with pytest.raises(TrackingError, match="columns and types") as refused:
            model.predict(wrong)
        assert "secret" not in str(refused.value)


def test_garbage_collection_is_restored_after_a_command() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_garbage_collection():
        assert gc.get_threshold() > before
        raise KeyError
    assert gc.get_threshold() == before
