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
from models.queries import WAYS
from pipeline.cli import few_collections, main
from pipeline.commands.score import Scored, _border_text, score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.segment_params import IdentityParams
from pipeline.ingest.raw_tables import SourceError
from pipeline.ingest.source import read_source
from pipeline.report.texts.wording import ALL_STAY
from pipeline.report.training_result import Trained, facet_text
from pipeline.stores import database, files, mlflow_runs, model_registry
from pipeline.stores.database import connect
from pipeline.stores.mlflow_runs import LINEAGE

FACETS = ("behaviour", "interest")


def test_without_prices_no_share_of_spend_is_told() -> None:
    columns = {"name": ["VIP", "Lost"], "customer_count": [1, 2], "customer_share": [0.5, 0.5]}
    table = pd.DataFrame({**columns, "stability_word": "stable", "top_categories": [[], []], "is_stable": True})
    told = [facet_text("a", table.assign(spend_share=shares)).count("%") for shares in ([0.0, None], [0.0, 0.4])]
    assert told == [2, 4]


def test_a_segment_that_is_unstable_is_told_as_such() -> None:
    columns = {"name": ["Regulars", "Lost"], "customer_count": [1, 2], "customer_share": 0.5, "spend_share": 0.5}
    stability = {"is_stable": [False, True], "stability_word": ["unstable", "stable"]}
    told = facet_text("behaviour", pd.DataFrame({**columns, **stability, "top_categories": [[], []]}))
    assert told.startswith("Behaviour ")
    assert re.search(r"^Regulars \(unstable segment\) .*\nLost  ", told, re.MULTILINE)


@pytest.mark.parametrize(("held", "said"), [(0, ""), (1, "; 1 stays where"), (1200, "; 1,200 stay where")])
def test_whoever_is_held_is_told_of_where_there_is_somebody(held: int, said: str) -> None:
    told = _border_text({"border_count": 3, "movable_count": 0, "held": {"customer_count": held, "margin": 0.1}})
    assert told.partition(" the last")[0] == f"On the border   3 customers{said}"


def quiet(step: str) -> None:
    """No progress."""


def test_names_are_unique_and_everybody_is_somewhere(trained: tuple[Params, Trained]) -> None:
    segments = trained[1].segments
    assert segments.segment_id.is_unique
    assert list(segments.facet.unique()) == [*FACETS]
    for _, own in segments.groupby("facet"):
        for language in ("en", "uk", "ru", "sq"):
            assert own.names.map(lambda names, language=language: names[language]).is_unique
        assert own.customer_share.sum() == pytest.approx(1.0)
        assert 0.95 < own.spend_share.sum() <= 1.0 + 1e-9  # without that of groups of a few people
    own = segments[~segments.is_standing].set_index("facet")
    kinds = {name.split(",")[0] for name in own.name["behaviour"]}  # without what tells two of a kind apart
    assert {"Regulars", "Lost", "Occasional buyers"} <= kinds
    for one in own.loc["interest"].itertuples():  # by what they like
        liked = {level for item in one.top_categories for level in item["category"].split(" > ")}
        assert any(level in one.name for level in liked), one.name


def test_the_run_holds_what_was_promised(trained: tuple[Params, Trained]) -> None:
    params, result = trained
    mlflow = mlflow_runs.open_store(params)
    client = mlflow.MlflowClient()
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
        place: {Path(one.path).stem for one in client.list_artifacts(result.run_id, f"figures{place}")}
        for place in ("", "/behaviour", "/interest")
    }
    assert drawn[""] == {*FACETS, "crossing"}
    assert {"segment_sizes", "value_by_segment", "map"} <= drawn["/behaviour"]
    assert drawn["/interest"] == {"segment_sizes", "value_by_segment", "interests_by_segment"}
    assert run.inputs.dataset_inputs[0].dataset.digest
    champion = client.get_model_version_by_alias("kindred", "champion")
    assert champion.run_id == result.run_id
    assert run.info.run_name == f"6 by behaviour and 5 by interest, {params.as_of:%Y-%m-%d}"
    described = run.data.tags["mlflow.note.content"]
    assert described == champion.description
    assert all(name.replace("|", r"\|") in described for name in result.segments.name)
    experiment = client.get_experiment(run.info.experiment_id)
    explained = experiment.tags["mlflow.note.content"]
    assert "as in behaviour/stability_mean" in explained
    assert all(metric.rpartition("/")[2] in explained for metric in run.data.metrics)


def test_nothing_personal_reaches_the_store(trained: tuple[Params, Trained], shop: Path) -> None:
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


def test_scoring_gives_the_contract_twice_the_same_and_as_trained(
    trained: tuple[Params, Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params, result = trained
    first = score(params, model_uri="models:/kindred@champion", out=tmp_path / "a.parquet", progress=quiet)
    second = score(params, model_uri=result.model_uri, out=tmp_path / "b.parquet", progress=quiet)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
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
        *("interest_segment_id", "interest_segment", "interest_cluster_id", "interest_strength"),
        *("next_interest_segment_id", "next_interest_segment", "interest_margin", "is_interest_border"),
        *("is_interest_stable", "interest_evidence"),
    ]
    frame = table.to_pandas()
    assert frame.customer_id.is_monotonic_increasing
    assert frame.customer_id.is_unique
    assert frame.strength.between(0, 1).all()
    assert frame.margin.between(0, 1).all()
    assert frame[frame.evidence == "low"].cluster_id.isna().all()
    assert not frame.what_would_move[~frame.is_border].notna().any()
    assert set(frame.interest_evidence) <= {"ok", "low", "broad"}
    unknown = frame[frame.interest_evidence == "low"]
    assert len(unknown) and unknown.interest_cluster_id.isna().all()
    assert set(unknown.interest_segment_id) == {"standing-unknown"}
    assert frame.interest_segment_id[frame.interest_evidence != "low"].str.fullmatch(r"i\d\d|broad").all()
    assert frame.interest_strength.between(0, 1).all() and frame.interest_margin.between(0, 1).all()
    told = frame[frame.what_would_move.notna()]
    assert set(told.what_would_move.str.split(" -> ").str[1]) <= set(result.segments.name)
    assert (told.what_would_move.str.split(" -> ").str[1] != told.segment).all()
    for facet, prefix in (("behaviour", ""), ("interest", "interest_")):
        own = result.segments[result.segments.facet == facet].set_index("segment_id")
        column = frame[f"{prefix}segment_id"]
        assert column.value_counts().to_dict() == own.customer_count.to_dict()
        assert column.map(own["name"]).equals(frame[f"{prefix}segment"])
        assert f"{facet.capitalize()} " in first.as_text()
        shares = {one: row["customer_share"] for one, row in first.summary["facets"][facet]["segments"].items()}
        assert shares == pytest.approx(own.customer_share.to_dict())

    segments = told_segments(first, frame.customer_id.iloc[0], capsys)
    assert [one.split(" (")[0].split(None, 1) for one in segments] == [
        ["Behaviour", frame.segment.iloc[0]],
        ["Interest", frame.interest_segment.iloc[0].split(" (")[0]],
    ]
    assert f"kindred explain CUSTOMER --model {result.model_uri} --" in second.as_text()


def test_cards_tell_how_many_are_still_there(trained: tuple[Params, Trained], tmp_path: Path) -> None:
    params, result = trained
    days = params.backtest.horizon_days
    moments = (params.model_copy(update={"as_of": params.as_of - timedelta(days=ago)}) for ago in (days, 0))
    then, now = (
        pq.read_table(
            score(at, model_uri=result.model_uri, out=tmp_path / f"{at.as_of:%d}.parquet", progress=quiet).path
        )
        .to_pandas()
        .set_index("customer_id")[["segment_id", "interest_segment_id"]]
        .set_axis(FACETS, axis=1)
        for at in moments
    )
    has_stayed = now.reindex(then.index) == then
    told = result.segments.set_index("segment_id").staying
    own = result.segments.set_index("segment_id").facet
    assert told[own == "behaviour"].notna().sum() >= 6 and told[own == "interest"].notna().sum() >= 2
    for segment_id, one in told.dropna().items():
        here = has_stayed[own[segment_id]][then[own[segment_id]] == segment_id]
        left = len(here) - here.sum()
        share = here.mean() if left == 0 or left >= params.naming.min_group else 1.0  # few left: as good as none
        assert len(here) >= params.naming.min_group and share == pytest.approx(here.mean(), abs=0.005)
        assert one == {"days": days, "share": pytest.approx(share), "is_sample": False}
    # A stage that everyone passes through says nothing where all stayed; customers with no interests have no card.
    has_line = told.drop("standing-unknown").dropna()
    says_nothing = [
        segment_id.removeprefix("standing-") in PASSING_STAGES and one["share"] >= ALL_STAY
        for segment_id, one in has_line.items()
    ]
    page = result.report_path.read_text()
    assert page.count(" earlier are still in it.") == len(has_line) - sum(says_nothing)


def told_segments(scored: Scored, customer: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command that a scoring tells to run next says of a customer."""
    (told,) = re.findall(r"^Next +kindred (explain CUSTOMER.*)$", scored.as_text(), re.MULTILINE)
    words = shlex.split(told, comments=True)
    assert main([customer if word == "CUSTOMER" else word for word in words]) == 0
    return re.findall(r"^(?:Behaviour|Interest) .*$", capsys.readouterr().out, re.MULTILINE)


def test_new_customers_and_the_models_own_names_and_weights(trained: tuple[Params, Trained], tmp_path: Path) -> None:
    params, result = trained
    later = params.model_copy(update={"as_of": params.as_of.replace(month=12), "language": "uk"})
    scored = score(later, model_uri=result.model_uri, out=tmp_path / "later.parquet", progress=quiet)
    before = score(params, model_uri=result.model_uri, out=tmp_path / "before.parquet", progress=quiet)
    assert scored.summary["customer_count"] > before.summary["customer_count"]
    for facet, found in scored.summary["facets"].items():
        own = result.segments[result.segments.facet == facet]
        assert {row["name"] for row in found["segments"].values()} & set(own.name)


def test_hysteresis_holds_customers_near_a_border_and_tells_how_many(
    trained: tuple[Params, Trained], tmp_path: Path
) -> None:
    params, result = trained
    later = params.model_copy(
        update={
            "as_of": params.as_of + timedelta(days=14),
            "score": params.score.model_copy(update={"hysteresis": 0.1}),
        }
    )
    uri, path = result.model_uri, tmp_path / "held.parquet"
    free = score(later, model_uri=uri, out=tmp_path / "free.parquet", progress=quiet)
    assert "held" not in free.summary  # there were no scores before
    before = pq.read_table(score(params, model_uri=uri, out=path, progress=quiet).path).to_pandas()
    first = score(later, model_uri=uri, out=path, progress=quiet)
    held = first.summary["held"]["customer_count"]
    assert held > 0
    assert f"{held:,} stay where the last scores had them" in first.as_text()
    given, unheld = (pq.read_table(each).to_pandas().set_index("customer_id") for each in (path, free.path))
    everybody: set[str] = set()
    for prefix in ("", "interest_"):
        ids, margins = f"{prefix}segment_id", f"{prefix}margin"
        differ = given.index[given[ids] != unheld[ids]]
        assert len(differ)
        assert (given[ids][differ] == before.set_index("customer_id")[ids][differ]).all()
        assert (unheld[margins][differ] < 0.1).all()
        everybody |= set(differ)
    assert len(everybody) == held
    once = path.read_bytes()
    score(later, model_uri=uri, out=path, progress=quiet)
    assert path.read_bytes() == once


def test_a_model_outlives_its_run(trained: tuple[Params, Trained], tmp_path: Path, monkeypatch: Any) -> None:
    params, result = trained

    def gone(mlflow: Any, run_id: str) -> None:
        raise mlflow_runs.TrackingError("no such run")

    monkeypatch.setattr(mlflow_runs, "read_run", gone)
    scored = score(params, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=quiet)
    assert "Drift           unknown" in scored.as_text()
    assert (tmp_path / "scores-manifest.json").exists()


def test_row_order_changes_no_byte(
    params: Callable[..., Params], shop: Path, champion: Trained, tmp_path: Path
) -> None:
    events = pq.read_table(shop / "events").combine_chunks()
    order = np.random.default_rng(1).permutation(events.num_rows)
    pq.write_table(events.take(order), tmp_path / "shuffled.parquet")
    other = params(f"source.events.path={tmp_path / 'shuffled.parquet'}")
    first, second = champion, train(other, sweep=False, progress=quiet)
    assert first.segments.drop(columns="figures").equals(second.segments.drop(columns="figures"))
    mlflow = mlflow_runs.open_store(other)
    folders = [Path(mlflow.artifacts.download_artifacts(each.model_uri)) for each in (first, second)]
    for name in (
        "segmentation/facets.json",
        *(f"segmentation/{facet}/{part}" for facet in FACETS for part in ("model.json", "arrays.npz")),
        "shop/spec.json",
        "shop/queries.json",
        "shop/queries.npz",
    ):
        assert (folders[0] / "artifacts" / name).read_bytes() == (folders[1] / "artifacts" / name).read_bytes(), name


def test_hdbscan_trains_and_scores(params: Callable[..., Params], tmp_path: Path) -> None:
    given = params(
        "facets.behaviour.algorithm=hdbscan",
        "clustering.hdbscan.fit_customers=600",
        "quality.hdbscan_resamples=2",
        "quality.min_stability=0.1",
    )
    result = train(given, sweep=False, progress=quiet)
    scored = score(given, model_uri=result.model_uri, out=tmp_path / "scores.csv", progress=quiet)
    assert scored.path.read_text().startswith('"customer_id","as_of","segment_id"')
    assert not result.segments.name.str.contains(r"\d").any()


@pytest.mark.parametrize("policy", ["keep", "standing"])
def test_noise_is_scored_as_it_was_trained_and_told(params: Callable[..., Params], tmp_path: Path, policy: str) -> None:
    given = params(
        *("facets.behaviour.algorithm=hdbscan", "clustering.hdbscan.fit_customers=600", "quality.hdbscan_resamples=1"),
        f"facets.behaviour.noise={policy}",
    )
    result = train(given, sweep=False, progress=quiet)
    (note,) = (note for note in result.notes if "lie between HDBSCAN's segments of behaviour" in note)
    assert note.endswith("their evidence in the scores is noise.")
    scored = score(given, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=quiet)
    frame = pq.read_table(scored.path).to_pandas()
    own = result.segments[result.segments.facet == "behaviour"].set_index("segment_id")
    assert frame.segment_id.value_counts().to_dict() == own.customer_count.to_dict()
    between = frame[frame.evidence == "noise"]
    assert len(between) == scored.summary["noise_count"] > 0
    assert (between.cluster_id == -1).all()
    assert between.segment_id.str.startswith("standing-" if policy == "standing" else "noise").all()
    assert f"{len(between):,} customers lie between the segments" in scored.as_text()


def test_a_log_that_ended_long_before_as_of(params: Callable[..., Params]) -> None:
    with pytest.raises(UserError, match=r"as_of: expected events in the 365 days .* The last event was at 2025"):
        train(params("as_of=2035-01-01T00:00:00Z"), sweep=False, progress=quiet)


def test_a_later_training_is_the_challenger(champion_and_challenger: tuple[Trained, Trained]) -> None:
    assert [one.alias for one in champion_and_challenger] == ["champion", "challenger"]


def test_segments_keep_their_ids_under_another_seed_and_three_weeks_later(
    params: Callable[..., Params], champion_and_challenger: tuple[Trained, Trained]
) -> None:
    given = params()
    first, again = champion_and_challenger  # of seed 99
    later = train(given.model_copy(update={"as_of": given.as_of + timedelta(days=21)}), sweep=False, progress=quiet)
    mlflow = mlflow_runs.open_store(given)
    lineage = mlflow_runs.read_lineage(mlflow, later.run_id, LINEAGE)
    # The challengers descend from the champion, not from one another.
    assert list(dict.fromkeys(row["run_id"] for row in lineage)) == [first.run_id, later.run_id]
    for found, fewer, told in ((again, 0, "1.00"), (later, 1, "0.")):
        rows = [row for row in mlflow_runs.read_lineage(mlflow, found.run_id, LINEAGE) if row["run_id"] == found.run_id]
        for facet, letter, count in (("behaviour", "s", 6), ("interest", "i", 5)):
            own = [row for row in rows if row["facet"] == facet]
            here = {row["segment_id"] for row in own if row["is_here"]}
            kept = {row["segment_id"] for row in own if row["verdict"] == "survived"}
            segments = found.segments[(found.segments.facet == facet) & ~found.segments.is_standing]
            assert here == set(segments.segment_id) and all(one.startswith(letter) for one in here)
            assert kept <= set(first.segments.segment_id)
            assert len(kept) >= count - fewer
            same = rf"(?s)Segments over trainings .*\n{letter}\d\d [^\n]* new +same, {re.escape(told)}"
            assert re.search(same, found.as_text())
    assert "<td>same, 0." in later.report_path.read_text()


def test_ids_are_never_given_twice(
    params: Callable[..., Params], shop: Path, champion: Trained, tmp_path: Path
) -> None:
    import pyarrow as pa

    given = params()
    # Another number of segments, or they would go on from the champion's.
    strict = params("facets.behaviour.n_segments=5", "facets.interest.n_segments=4").model_copy(
        update={"identity": IdentityParams(min_jaccard=1.0, min_part=0.5)}
    )
    products = pq.read_table(shop / "products.parquet")
    paths = pa.array([f"Rockets > {path}" for path in products["category_path"].to_pylist()])
    pq.write_table(products.set_column(1, "category_path", paths), tmp_path / "products.parquet")
    assert given.source.products is not None
    elsewhere = given.source.products.model_copy(update={"path": str(tmp_path / "products.parquet")})
    another = given.model_copy(update={"source": given.source.model_copy(update={"products": elsewhere})})
    # The champion; two challengers of which little or nothing survives; one of another shop; one without a champion.
    found = [champion, *(train(one, sweep=False, progress=quiet) for one in (strict, strict, another))]
    assert any("numbered anew" in note for note in found[3].notes)
    mlflow = mlflow_runs.open_store(given)
    mlflow.MlflowClient().delete_registered_model_alias("kindred", "champion")
    found.append(train(given, sweep=False, progress=quiet))
    assert found[-1].alias == "champion"
    ids = [set(one.segments.segment_id[~one.segments.is_standing]) for one in found]
    champions = ids[0]
    fresh = [champions, *(one - champions for one in ids[1:])]
    assert len(set.union(*fresh)) == sum(map(len, fresh))
    for letter, least in (("s", 4), ("i", 3)):  # of 5, of 4
        assert min(sum(one.startswith(letter) for one in new) for new in fresh[1:3]) >= least
    assert fresh[3] == ids[3] and fresh[4] == ids[4]


def test_stale_runs_are_closed(params: Callable[..., Params]) -> None:
    given = params()
    mlflow = mlflow_runs.open_store(given)
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name("kindred").experiment_id
    machine = mlflow_runs._process().partition(":")[0]
    dead = client.create_run(experiment, tags={"kindred.process": f"{machine}:99999999"})
    elsewhere = client.create_run(experiment, tags={"kindred.process": "another:1"})
    assert mlflow_runs.close_stale_runs(mlflow, given) == 1
    assert client.get_run(dead.info.run_id).info.status == "KILLED"
    assert client.get_run(elsewhere.info.run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    "uri",
    ["nosuch://ann:hush@host/db", "http://ann:hush@127.0.0.1:9", "nodriver+pg://ann:hush@host/db", "sqlite:///{}"],
)
def test_a_store_that_does_not_answer(
    params: Callable[..., Params], uri: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "broken.db").write_text("no database" * 99)
    with pytest.raises(mlflow_runs.TrackingError, match="expected a store that answers") as caught:
        mlflow_runs.open_store(params(f"tracking.uri={uri.format(tmp_path / 'broken.db')}"))
    assert "hush" not in str(caught.value)


def test_an_experiment_that_was_deleted(params: Callable[..., Params]) -> None:
    given = params()
    mlflow = mlflow_runs.open_store(given)
    mlflow.delete_experiment(mlflow.get_experiment_by_name("kindred").experiment_id)
    with pytest.raises(mlflow_runs.TrackingError, match="deleted"):
        mlflow_runs.open_store(given)


@pytest.mark.parametrize(
    "uri", ["models:/kindred@champion", "models:/nothing/1", "models:/kindred/999", "runs:/none/model"]
)
def test_a_model_that_does_not_exist(params: Callable[..., Params], uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kindred train"):
        score(params(), model_uri=uri, out=tmp_path / "scores.parquet", progress=quiet)
    assert not (tmp_path / "scores.parquet").exists()


def test_two_trainings_at_once_in_one_folder(params: Callable[..., Params]) -> None:
    given = params()
    with files.lock(given.path(given.outputs.folder)), pytest.raises(UserError, match="another kindred command"):
        train(given, sweep=False, progress=quiet)


def test_of_two_first_trainings_at_once_one_is_the_champion(
    params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version and alias are decided while no other command can decide them in the same store."""
    given, logged = params(), model_registry.log_model

    def log_model(*arguments: Any, **named: Any) -> tuple[str, str]:
        with (given.path(given.tracking.artifacts) / ".lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return logged(*arguments, **named)

    monkeypatch.setattr(model_registry, "log_model", log_model)
    assert train(given, sweep=False, progress=quiet).alias == "champion"


def test_new_categories_count_as_other_and_are_told(
    trained: tuple[Params, Trained], shop: Path, tmp_path: Path
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
    scored = score(changed, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=quiet)
    assert list(scored.summary["new_categories"]) == ["Rockets > Moon"]
    assert "Rockets > Moon" in scored.as_text()
    assert "Beware" not in scored.as_text()


def test_a_model_of_another_shop_leaves_the_scores_alone(
    trained: tuple[Params, Trained], shop: Path, tmp_path: Path
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
    with pytest.raises(UserError, match=r"signs of another one: `source` describes .* and \d+% .*--force"):
        score(changed, model_uri=result.model_uri, out=out, progress=quiet)
    assert out.read_text() == "old"
    scored = score(changed, model_uri=result.model_uri, out=out, progress=quiet, force=True)
    assert re.search(r"Beware +the model may be another shop's: `source` describes .* and \d+%", scored.as_text())
    alike = params.model_copy(update={"source": params.source.model_copy(update={"events": events})})
    scored = score(alike, model_uri=result.model_uri, out=out, progress=quiet)
    assert re.search(r"Beware +the model may be another shop's: `source` describes [^%]*\. Train", scored.as_text())


def test_the_manifest_names_the_bytes(trained: tuple[Params, Trained]) -> None:
    params, _ = trained
    folder = params.path(params.outputs.folder)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["outputs"].values():
        assert files.file_digest(folder / entry["file"]) == entry["sha256"]
    counts = manifest["row_counts"]
    assert counts["read_count"] == counts["accepted_count"] + counts["rejected_count"]


def test_the_report_has_no_script_and_no_outside_address(trained: tuple[Params, Trained]) -> None:
    text = trained[1].report_path.read_text()
    assert "<script" not in text
    assert not re.findall(r"src=|href=(?!\"#[a-z]+\")|url\(|https?://", text)
    for name in trained[1].segments.name:
        assert name.replace("&", "&amp;") in text


def test_events_all_after_as_of(params: Callable[..., Params]) -> None:
    with pytest.raises(SourceError, match="nothing had happened yet"):
        train(params("as_of=2020-01-01T00:00:00Z"), sweep=False, progress=quiet)


def test_the_copy_of_a_model_goes_with_it(
    trained: tuple[Params, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, result = trained
    mlflow = mlflow_runs.open_store(given)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = model_registry.load_model(mlflow, result.model_uri)
    assert model.shop_folder.is_relative_to(tmp_path) and model.shop_folder.is_dir()
    told = r"^models:/kindred/999: expected a model that Kindred trained\..*[^.]\. There are: models:/"
    with pytest.raises(mlflow_runs.TrackingError, match=told):
        model_registry.load_model(mlflow, "models:/kindred/999")
    del model
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert model_registry.load_model(mlflow, result.model_uri).uri == result.model_uri  # the store's own is as it was


def test_queries_are_told_and_rare_ones_not_kept(trained: tuple[Params, Trained], tmp_path: Path) -> None:
    given, result = trained
    mlflow = mlflow_runs.open_store(given)
    metrics = mlflow.get_run(result.run_id).data.metrics
    assert metrics["queries_learned"] > 20 and metrics["queries_by_text"] > 20
    assert any(note.startswith("Searches: of ") for note in result.notes)
    model = model_registry.load_model(mlflow, result.model_uri)
    kept = json.loads((model.shop_folder / "queries.json").read_text(encoding="utf-8"))["queries"]
    assert len(kept) == metrics["queries_learned"]
    with connect(given.engine, folder=tmp_path) as con:
        events = read_source(con, given, rejected_path=None).events
        events = events.mutate(query=normalised_query(events.query))
        typed = events.group_by("query").aggregate(customer_count=events.customer_id.nunique()).to_pandas()
    customers = typed.dropna().set_index("query").customer_count
    assert customers[kept].min() >= given.searches.min_customers


def test_a_log_without_searches_trains_and_scores(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    events = pq.read_table(shop / "events", filters=[("event_type", "!=", "search")])
    pq.write_table(events, tmp_path / "silent.parquet")
    given = params(f"source.events.path={tmp_path / 'silent.parquet'}")
    result = train(given, sweep=False, progress=quiet)
    assert not any(note.startswith("Searches") for note in result.notes)
    scored = score(given, model_uri=result.model_uri, out=tmp_path / "scores.parquet", progress=quiet)
    assert scored.summary["queries"] == dict.fromkeys(WAYS, 0)


def test_scores_do_not_depend_on_batches(trained: tuple[Params, Trained], tmp_path: Path, monkeypatch: Any) -> None:
    given, result = trained
    for name, rows in (("whole", 100_000), ("batches", 300)):
        monkeypatch.setattr(database, "BATCH_ROWS", rows)
        score(given, model_uri=result.model_uri, out=tmp_path / f"{name}.parquet", progress=quiet)
    assert pq.read_metadata(tmp_path / "whole.parquet").num_rows > 2_000
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "batches.parquet").read_bytes()


def test_profiles_that_lack_a_column_are_refused_without_a_row_of_them(trained: tuple[Params, Trained]) -> None:
    given, result = trained
    model = model_registry.load_model(mlflow_runs.open_store(given), result.model_uri)
    profile = pd.DataFrame({name: [0.5] for name in model.columns}).assign(lifecycle_stage="browsing")
    assert len(model.predict(profile)) == 1
    for wrong in (profile.drop(columns="spend"), profile.assign(spend="a secret")):
        with pytest.raises(mlflow_runs.TrackingError, match="columns or types") as refused:
            model.predict(wrong)
        assert "secret" not in str(refused.value)


def test_after_a_command_garbage_is_collected_as_often_as_before() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), few_collections():
        assert gc.get_threshold() > before
        raise KeyError
    assert gc.get_threshold() == before
