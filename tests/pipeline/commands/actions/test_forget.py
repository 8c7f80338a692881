"""After `kindred forget`, no file holds the customer, and nothing that runs later sees them."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audiences.build import Audience, Step
from pipeline.audiences.changes import keep_changes
from pipeline.audiences.storage import store
from pipeline.cli import main
from pipeline.commands.actions import forget as module
from pipeline.commands.actions.forget import forget
from pipeline.commands.history import history
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.config.sections.audiences import AudienceParams
from pipeline.ingest.customers.id_lists import read_ids
from pipeline.stores import files
from pipeline.stores.forgotten import FOLDER, LIST, read_list
from pipeline.stores.writers import write_table
from tests.conftest import PARAMS, BuildOnce
from tests.pipeline.conftest import copied, params_in

CANARY = "canary-5d1f"
MOMENT = datetime(2025, 11, 1, tzinfo=UTC)


def contents(path: Path) -> bytes:
    """What a file holds, unpacked."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas().to_csv().encode()
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    return data


def holding(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text in their content or name."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in paths if text.encode() in contents(path) or text in str(path))


def write_canary_log(path: Path) -> None:
    """Events of one customer on many days, one of them broken."""
    days = pd.date_range("2025-06-01", "2025-10-31", periods=40)
    log = pd.DataFrame(
        {"customer_id": CANARY, "occurred_at": days, "event_type": "view", "product_id": "canary-product"}
    )
    log.loc[::5, "event_type"] = "purchase"
    log["unit_price"], log["quantity"] = 5.0, 1.0
    log.loc[7, "unit_price"] = -1.0
    log.to_parquet(path)


def small(folder: Path, *more: str) -> Params:
    places = (f"outputs.folder={folder / 'outputs'}", f"tracking.uri=sqlite:///{folder / 'none.db'}")
    return load_params(PARAMS, [*places, f"outputs.scores={folder / 'outputs' / 'scores.parquet'}", *more])


def write_scores(params: Params, *ids: str) -> Path:
    path = params.path(params.outputs.scores)
    write_table(path, pd.DataFrame({"customer_id": ids, "spend": [float(len(each)) for each in ids]}))
    files.write_manifest(
        path.with_name("scores-manifest.json"),
        run_id="r",
        params_digest="p",
        inputs={},
        outputs={"scores": path},
        versions={},
        row_counts={"scores": len(ids), "rejected": 3},
    )
    return path


def manifest_fits(path: Path) -> bool:
    content = json.loads(path.with_name("scores-manifest.json").read_text())
    rows = len(pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path))
    return content["outputs"]["scores"]["sha256"] == files.file_digest(path) and content["row_counts"] == {
        "scores": rows,
        "rejected": 3,
    }


def params_with_canary(folder: Path, shop: Path, log: Path) -> Params:
    events = f"source.events.path=[{shop / 'events'}, {log}]"
    scores = f"outputs.scores={folder / 'outputs' / 'scores.parquet'}"
    return params_in(folder, shop, events, "checks.negative_price.error=1.0", scores)


@pytest.fixture(scope="module")
def canary(build_once: BuildOnce, first_training: tuple[Path, TrainingResult], shop: Path) -> Path:
    """The log of the canary, and a store with scores, a state, rejected rows, a history, an audience and changes."""

    def make(folder: Path) -> None:
        write_canary_log(folder / "canary.parquet")
        (champion,) = copied(first_training[0], folder / "store", first_training[1])
        params = params_with_canary(folder / "store", shop, folder / "canary.parquet")
        outputs = params.path(params.outputs.folder)
        score(params, model_uri=champion.model_uri, out=outputs / "scores.parquet", progress=SILENT, update=True)
        since, out = datetime(2025, 9, 1, tzinfo=UTC), outputs / "history.parquet"
        history(params, every="month", since=since, model_uri=champion.model_uri, out=out, progress=SILENT)
        members = pd.DataFrame({"customer_id": [CANARY, "another"], "group": "send", "position": [1, 2]})
        definition = AudienceParams(where={"value_tier": "top"})
        spring = Audience("spring", MOMENT, definition, members, [Step("scored", 2)])
        store(outputs, spring, model_uri="models:/kindred/1")
        scored = pq.read_table(outputs / "scores.parquet", columns=["customer_id", "segment_id", "as_of"])
        keep_changes(outputs, entered_segments(scored.slice(0, 5000)), MOMENT)

    return build_once("canary", make)[0]


def entered_segments(scored: pa.Table) -> pa.Table:
    """Changes: each customer entered the segment of the scores."""
    return pa.table(
        {
            "customer_id": scored["customer_id"].cast(pa.string()),
            "column": pa.array(["segment_id"] * len(scored)),
            "before": pa.nulls(len(scored), pa.string()),
            "after": scored["segment_id"].cast(pa.string()),
            "previous_as_of": scored["as_of"],
            "as_of": scored["as_of"],
            "entry_count": pa.array([1] * len(scored)),
        }
    )


@pytest.fixture
def store_of_canary(canary: Path, shop: Path, tmp_path: Path) -> Params:
    """A copy of that store."""
    copied(canary / "store", tmp_path)
    return params_with_canary(tmp_path, shop, canary / "canary.parquet")


@pytest.mark.slow
def test_no_file_holds_the_customer_and_later_commands_do_not_see_them(
    store_of_canary: Params, first_training: tuple[Path, TrainingResult], canary: Path, tmp_path: Path
) -> None:
    params, uri = store_of_canary, first_training[1].model_uri
    outputs = params.path(params.outputs.folder)
    before = set(holding(tmp_path, CANARY))
    assert {"scores.parquet", "history.parquet", "scores-rejected.parquet", "2025-11-01T000000.parquet"} <= before
    assert {"measures-000001.parquet", "events-000001.parquet"} <= before
    text = forget(params, [CANARY], progress=SILENT)
    assert holding(tmp_path, CANARY) == [] and CANARY not in text
    receipt = json.loads((outputs / FOLDER / "receipt-0001.json").read_text())
    places = ("scores", "history", "audiences", "changes", "rejected rows", "state: events", "state: measures")
    assert set(receipt["removed_row_counts"]) == set(places) and receipt["as_of"] == params.as_of.isoformat()
    assert receipt["removed_row_counts"]["state: events"] == 39 and receipt["removed_row_counts"]["rejected rows"] == 1

    out = outputs / "scores.parquet"
    updated = score(params, model_uri=uri, out=out, progress=SILENT, update=True)
    assert len(pq.read_table(canary / "canary.parquet")) == 40  # the log is the shop's
    assert "Updated 0 of" in "\n".join(updated.update_lines)
    score(params, model_uri=uri, out=outputs / "full.parquet", progress=SILENT)
    columns = [name for name in pq.read_schema(out).names if name not in ("model_uri", "run_id")]
    one, other = (pd.read_parquet(path, columns=columns) for path in (out, outputs / "full.parquet"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)
    assert holding(tmp_path, CANARY) == []

    by_density = load_params(
        PARAMS,
        [
            *params.called_with[3::2],
            "facets.behaviour.algorithm=hdbscan",
            "clustering.hdbscan.reduce=never",
            "facets.interest=null",
        ],
    )
    trained = train(by_density, sweep=False, progress=SILENT)
    assert holding(tmp_path, CANARY) == []
    somebody = str(one.customer_id.iloc[0])
    text = forget(params, [somebody], progress=SILENT)
    version = trained.model_uri.rpartition("/")[2]
    assert f"version {version} (@challenger)" in text and "rows in behaviour" in text
    (model,) = json.loads((outputs / FOLDER / "receipt-0002.json").read_text())["models_with_rows_of_customers"]
    assert model["version"] == version and model["facets"]["behaviour"] > 100


@pytest.mark.slow
def test_an_interrupted_forgetting_is_finished_by_the_same_command(
    store_of_canary: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = store_of_canary
    outputs = params.path(params.outputs.folder)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "forget_in_state", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(params, [CANARY], progress=SILENT)
    listed = read_list(params)
    assert listed is not None and listed.holds(CANARY) and "events-000001.parquet" in holding(outputs, CANARY)
    forget(params, [CANARY], progress=SILENT)
    assert holding(outputs, CANARY) == [] and not list(outputs.rglob(".unfinished*"))
    content = json.loads((outputs / "scores-manifest.json").read_text())
    assert content["outputs"]["scores"]["sha256"] == files.file_digest(outputs / "scores.parquet")
    removed = json.loads((outputs / FOLDER / "receipt-0001.json").read_text())["removed_row_counts"]
    assert removed["scores"] == 1 and removed["state: events"] == 39


def test_unknown_ids_are_refused_by_position_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = small(tmp_path)
    scores = write_scores(params, "a", "b")
    before = scores.read_bytes()
    with pytest.raises(UserError, match=r"1 of 2 are unknown \(number 2\)") as error:
        forget(params, ["a", "mistyped"], progress=SILENT)
    assert "mistyped" not in str(error.value)
    assert scores.read_bytes() == before and not (scores.parent / FOLDER / LIST).exists()
    assert main(["forget", "mistyped", *params.called_with]) == 2
    message = capsys.readouterr().err
    assert message.count("kindred:") == 1 and "1 of 1 are unknown" in message
    forget(params, ["a", "later"], add_unknown=True, progress=SILENT)
    listed = read_list(params)
    assert listed is not None and listed.holds("a") and listed.holds("later")
    assert pd.read_parquet(scores).customer_id.tolist() == ["b"] and manifest_fits(scores)
    forget(params, ["a"], progress=SILENT)  # a forgotten customer is known
    assert listed == read_list(params)


@pytest.mark.parametrize("ids", [[], ["", ""]])
def test_no_id_is_refused(ids: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one customer id"):
        forget(small(tmp_path), ids, progress=SILENT)


def test_other_rows_of_a_csv_keep_their_bytes(tmp_path: Path) -> None:
    params = small(tmp_path, f"outputs.scores={tmp_path / 'elsewhere' / 'scores.csv'}")
    scores = write_scores(params, "7", '=odd, "id"', "77", "line\nbreak")
    lines = scores.read_text().splitlines(keepends=True)
    forget(params, ["7", '=odd, "id"'], progress=SILENT)
    assert scores.read_text() == "".join([lines[0], *lines[3:]]) and manifest_fits(scores)


def test_nothing_changes_when_a_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = small(tmp_path)
    scores = write_scores(params, "a", "b")
    later = scores.with_name("zone.parquet")
    write_table(later, pd.DataFrame({"customer_id": ["a"]}))
    before = scores.read_bytes(), later.read_bytes()
    original = module.write_without

    def failing(path: Path, *rest: object) -> None:
        if path == later:
            raise OSError(28, "No space left on device")
        original(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_without", failing)
        with pytest.raises(UserError, match="disk is full"):
            forget(params, ["a"], progress=SILENT)
    assert before == (scores.read_bytes(), later.read_bytes())
    forget(params, ["a"], progress=SILENT)
    assert holding(scores.parent, "zone") == ["receipt-0001.json", "zone.parquet"]
    assert len(pd.read_parquet(later)) == 0 and manifest_fits(scores)


@pytest.mark.parametrize("step", range(1, 9))
def test_an_interruption_at_any_step_can_be_repeated(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(tmp_path)
    scores = write_scores(params, "canary", "b")
    for name in ("history", "zone"):
        write_table(scores.with_name(f"{name}.parquet"), pd.DataFrame({"customer_id": ["canary", "b"]}))
    replace, done = Path.replace, 0

    def interrupted(path: Path, target: Path) -> Path:
        nonlocal done
        replaced, done = replace(path, target), done + 1
        if done == step:
            raise KeyboardInterrupt
        return replaced

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            forget(params, ["canary"], progress=SILENT)
    if step < 8:
        forget(params, ["canary"], progress=SILENT)
    assert holding(scores.parent, "canary") == [] and manifest_fits(scores)
    (receipt,) = [path for path in (scores.parent / FOLDER).iterdir() if path.suffix == ".json"]
    assert json.loads(receipt.read_text())["removed_row_counts"] == {"scores": 1, "history": 1, "zone": 1}


def test_rejected_rows_workbooks_and_leftovers(tmp_path: Path) -> None:
    from openpyxl import Workbook

    params = small(tmp_path)
    scores = write_scores(params, "c1", "c12")
    raws = ['{"customer_id":"c1","x":"1"}', '{"customer_id":"c12"}', "c1;broken line", None]
    write_table(scores.with_name("rejected.parquet"), pd.DataFrame({"reasons": ["r"] * 4, "raw": raws}))
    for name, value in (("held", "c1"), ("kept", "c12")):
        book = Workbook()
        book.active.append([value])
        book.save(scores.with_name(f"{name}.xlsx"))
    leftover = scores.parent / "audiences" / ".part-1-x.parquet"
    leftover.parent.mkdir()
    leftover.write_bytes(scores.read_bytes())
    forget(params, ["c1"], progress=SILENT)
    assert pd.read_parquet(scores.with_name("rejected.parquet")).raw.isna().tolist() == [False, True]
    assert not scores.with_name("held.xlsx").exists() and scores.with_name("kept.xlsx").exists()
    assert not leftover.exists()
    receipt = json.loads((scores.parent / FOLDER / "receipt-0001.json").read_text())
    assert receipt["removed_row_counts"] == {"rejected rows": 2, "scores": 1, "workbooks": 1}


def test_a_damaged_file_stops_before_anything_changes(tmp_path: Path) -> None:
    params = small(tmp_path)
    scores = write_scores(params, "a")
    scores.with_name("history.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(UserError, match=r"history\.parquet: expected a table"):
        forget(params, ["a"], progress=SILENT)
    assert not (scores.parent / FOLDER / LIST).exists() and len(pd.read_parquet(scores)) == 1


def test_all_ids_of_a_person_are_forgotten(tmp_path: Path) -> None:
    links = tmp_path / "links.csv"
    links.write_text("customer_id,alias_id\nann,d1\nann,d2\n", encoding="utf-8")
    params = small(tmp_path, f"source.identities={{path: {links}}}", "source.ids.normalise=lower")
    scores = write_scores(params, "ann", "bo")
    rejected = scores.with_name("rejected.parquet")
    raws = [f'{{"client": "{each}"}}' for each in ("ANN", "D2", "d22", "Bo", "Joann")]
    pd.DataFrame({"raw": raws}).to_parquet(rejected)
    text = forget(params, [" D1"], progress=SILENT)
    assert "Forgotten 1 customer" in text
    assert pd.read_parquet(scores).customer_id.tolist() == ["bo"]
    assert pd.read_parquet(rejected).raw.tolist() == raws[2:]
    listed = read_list(params)
    assert listed is not None and all(map(listed.holds, ("ann", "d1", "d2", " D1")))
    with pytest.raises(UserError, match=r"1 of 2 are unknown \(number 2\)"):
        forget(params, ["BO", "stranger"], progress=SILENT)


def test_ids_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("\ufeffa\n\n b b \r\nc", encoding="utf-8")
    assert read_ids(path, key="--file") == ["a", "b b", "c"]
    with pytest.raises(UserError, match=r"--file: expected a file of customer ids at .*none\.txt, found none"):
        read_ids(tmp_path / "none.txt", key="--file")


def test_files_that_nobody_is_removed_from_are_named(tmp_path: Path) -> None:
    params = small(tmp_path)
    outputs = write_scores(params, "a", "b").parent
    lists = [tmp_path / "elsewhere" / "list.csv", outputs / "crm.sqlite"]
    for path in (*lists, tmp_path / "deleted.csv"):
        write_table(tmp_path / "list.csv", pd.DataFrame({"customer_id": ["a"]}))
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "list.csv").rename(path)
        files.note_elsewhere(outputs, path)
        files.note_elsewhere(outputs, path)
    (tmp_path / "deleted.csv").unlink()
    named = "; ".join(sorted(map(str, lists)))
    assert f"Unchanged {named}: they may hold the customers" in forget(params, ["a"], progress=SILENT)
    assert json.loads((outputs / FOLDER / "receipt-0001.json").read_text())["unreached_files"] == named.split("; ")
    for path in lists:
        path.unlink()
    assert "Unchanged" not in forget(params, ["b"], progress=SILENT)


def test_receipts_and_lists_are_private(tmp_path: Path) -> None:
    params = small(tmp_path)
    scores = write_scores(params, "a")
    scores.chmod(0o640)
    forget(params, ["a"], progress=SILENT)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (scores.parent / FOLDER).iterdir()}
    assert set(modes.values()) == {0o600} and len(modes) == 3
    assert scores.stat().st_mode & 0o777 == 0o640
