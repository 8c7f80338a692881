"""A slice of `make chaos`: some kills, a lock, and hostile inputs; and whether the checks see what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.chaos.campaign import disturb, locks
from tests.chaos.canaries import PERSONAL, SECRET, holds, leaks
from tests.chaos.fuzz import faults_of, fuzz_files, fuzz_folder, fuzz_params, model_files, state_files
from tests.chaos.tries import Command, Results, Workshop, torn_files, workshop

CUSTOMERS = 600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A shop with canaries, trained and scored."""
    steps = {"trained": [("train",)], "scored": [("score",)]}
    with workshop(tmp_path_factory.mktemp("chaos"), customers=CUSTOMERS, steps=steps) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begins", "arguments"),
    [("score, first", "trained", ["score"]), ("rename", "scored", ["rename", "s01", "Our gold"])],
)
def test_a_killed_or_terminated_command_leaves_old_or_new_and_can_be_repeated(
    made: Workshop, name: str, begins: str, arguments: list[str]
) -> None:
    results = Results()
    disturb(made, Command(name, tuple(arguments), begins), results, tries=1, random_tries=0, seed=1)
    assert sum(results.tries.values()) == 3
    assert not results.faults, results.table()


@pytest.mark.slow
def test_scores_are_private_and_the_checks_see_what_is_torn(made: Workshop) -> None:
    made.begin("scored")
    outputs = made.work / "outputs"
    scores = outputs / "scores.parquet"
    customer = pq.read_table(scores, columns=["customer_id"])["customer_id"][0].as_py()
    assert scores.stat().st_mode & 0o777 == 0o600 and leaks(outputs, (customer,)) == []
    scores.chmod(0o644)
    assert leaks(outputs, (customer,)) == [f"{customer} in scores.parquet"]
    assert torn_files(outputs) == []
    scores.write_bytes(scores.read_bytes()[:-9])
    assert torn_files(outputs) == ["scores.parquet"]


@pytest.mark.slow
def test_nothing_leaks_and_a_planted_leak_is_reported(made: Workshop) -> None:
    made.begin("scored")
    assert holds(made.work / "outputs" / "scores.parquet", *PERSONAL) == ["zqId"]  # of which only the owner knows
    assert leaks(made.work) == []
    (model,) = made.work.glob("mlartifacts/**/shop/spec.json")
    planted = {"outputs/segments.json": "zqId007", str(model.relative_to(made.work)): "zqquery007"}
    for name, text in planted.items():
        (made.work / name).write_text(text)
        (made.work / name).chmod(0o600)  # published, whatever its mode
    (made.work / "outputs" / "list.csv").write_text("zqMail007@shop.example")
    (made.work / "outputs" / "list.csv").chmod(0o644)
    (made.work / "outputs" / "note.txt").write_text(SECRET)
    (made.work / "outputs" / "note.txt").chmod(0o600)
    (made.work / "outputs" / "private.csv").write_text("zqMail007@shop.example")
    (made.work / "outputs" / "private.csv").chmod(0o600)
    (made.work / "outputs" / "audiences").mkdir(mode=0o700)
    (made.work / "outputs" / "audiences" / "vips.csv").write_text("zqId007,zqMail007@shop.example,zqOrder007")
    (made.work / "outputs" / "audiences" / "vips.csv").chmod(0o600)
    expected = {f"{text[:-3]} in {name}" for name, text in planted.items()}
    expected |= {"zqMail in outputs/list.csv", "zqMail in outputs/private.csv", "zqOrder in outputs/audiences/vips.csv"}
    assert {*leaks(made.work)} == expected | {f"{SECRET} in outputs/note.txt"}


@pytest.mark.slow
def test_a_lock_held_elsewhere_is_said_and_refused(made: Workshop) -> None:
    results = Results()
    locks(made, results, names=("outputs/.lock",))
    assert not results.faults, results.table()


@pytest.mark.slow
def test_hostile_files_and_params_are_read_or_refused_in_one_message(tmp_path: Path) -> None:
    results = Results()
    fuzz_files(results, tmp_path, range(25))
    fuzz_params(results, tmp_path, range(25))
    assert results.tries == {("fuzzed files", "check"): 25, ("fuzzed params", "check"): 25}
    assert not results.faults, results.table()


@pytest.mark.slow
def test_damaged_models_and_states_are_refused_in_one_message(made: Workshop) -> None:
    results = Results()
    made.begin("scored")
    (ended,) = made.run(Command("score --update", ("score", "--update"), "scored"))
    assert ended.code == 0, ended.errors
    made.save("updated")
    fuzz_folder(results, made, "state", range(1), state_files, "score", "--update")
    fuzz_folder(results, made, "models", range(1), model_files, "score")
    assert not results.faults, results.table()


@pytest.mark.parametrize(
    ("code", "errors", "seconds"),
    [
        (1, "kindred: unexpected error", 0),
        (2, "", 0),
        (2, "kindred: a\nkindred: b", 0),
        (0, "Traceback", 0),
        (0, "", 99),
    ],
)
def test_what_is_not_a_plain_refusal_is_a_fault(code: int, errors: str, seconds: float) -> None:
    assert faults_of(code, errors, seconds)
    assert not faults_of(2, "kindred: expected a file", 1) and not faults_of(0, "", 1)
