"""Names that a program proposes: from aggregates alone, beside the names by figures, and never in their place."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.naming import LANGUAGES
from pipeline.cli import main
from pipeline.commands.train import Trained, train
from pipeline.config.errors import ParamsError, UserError
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.report.next_steps import proposals_text
from pipeline.report.texts.wording import proposed_name, wording
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.name_proposals import MAX_ANSWER_BYTES, require_proposer, with_proposals
from pipeline.stores import mlflow_runs

PARAMS = Path(__file__).parents[3] / "params.yaml"
READ = "import json, sys; asked = json.load(sys.stdin)"
MARKED = '<i>Gold</i> & "co"'


def quiet(step: str) -> None:
    """No progress."""


def proposer(folder: Path, *lines: str) -> str:
    """An override with a program of these lines."""
    (folder / "names.py").write_text("\n".join(lines))
    return f"naming.proposer={json.dumps([sys.executable, '-S', str(folder / 'names.py')])}"


def answering(folder: Path, answer: object) -> str:
    return proposer(folder, f"print({json.dumps(answer)!r})")


def segment(segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    names = dict.fromkeys(LANGUAGES, name)
    told = {"name": name, "names": names, "names_by_figures": names, "archetype": None, "evidence": []}
    is_standing = segment_id.startswith("standing-")
    return {
        **{
            "facet": "behaviour",
            "segment_id": segment_id,
            "is_standing": is_standing,
            "is_small": False,
            "customer_count": 50,
            **told,
        },
        **{"top_categories": [], "figures": {"customer_count": 50.0, "buyer_share": 0.5}, "five_w": {}, **changes},
    }


TABLE = [
    segment("s01", "Regulars"),
    segment("s02", "Browsers"),
    segment("s03", "Lost"),
    segment("s04", "Few", is_small=True),
    segment("s05", "By hand", names_by_figures=dict.fromkeys(LANGUAGES, "VIP")),
    segment("standing-browsing", "Passers-by"),
]


def segments_of(table: list[dict[str, Any]]) -> Segments:
    nothing: dict[str, Any] = {"labels": {}, "segment_ids": np.array([]), "model": {}}
    (facet, *_) = facets_of(load_params(PARAMS))
    return Segments(facet, table, {"buyer_share": 0.4}, pd.DataFrame(), rules_fidelity=1.0, **nothing)


def proposed(override: str, *more: str, table: list[dict[str, Any]] = TABLE) -> tuple[dict[str, Any], str]:
    """segment_id -> proposal, where there is one, and the warning."""
    (found,), doubt = with_proposals([segments_of(table)], load_params(PARAMS, [override, *more]), progress=quiet)
    assert [{**one, "proposed_names": None} for one in found.table] == [
        {**one, "proposed_names": None} for one in table
    ]
    return {one["segment_id"]: one["proposed_names"] for one in found.table if one["proposed_names"]}, doubt


def test_proposals_are_shown_with_the_command_that_takes_them_and_change_nothing_else(
    params: Callable[..., Params],
    first_training: tuple[Path, Trained],
    shop: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = (
        READ,
        f"open({str(tmp_path / 'asked.json')!r}, 'w').write(json.dumps(asked))",
        "ids = [one['segment_id'] for one in asked['segments']]",
        f"names = {{one: one.upper() + ' in ' for one in {LANGUAGES!r}}}",
        f"told = {{ids[0]: {{one: {MARKED!r} + one for one in {LANGUAGES!r}}}, ids[1]: 'x' * 81, ids[2]: ' Our  friends '}}",
        "print(json.dumps(told))",
    )
    given = params(proposer(tmp_path, *lines))
    done = train(given, sweep=False, progress=quiet)
    _, plain = first_training

    asked = (tmp_path / "asked.json").read_text()
    known = pq.read_table(shop / "customers.parquet")["customer_id"].to_pylist()
    assert len(known) > 1000 and not set(known) & set(re.findall(r"\w+", asked))
    assert str(tmp_path) not in asked and str(shop) not in asked
    rows = {one["segment_id"]: one for one in done.segments.to_dict("records")}
    told = json.loads(asked)
    assert (told["language"], told["languages"]) == ("en", list(LANGUAGES))
    assert [one["segment_id"] for one in told["segments"]] == [
        key for key, one in rows.items() if not one["is_small"] and not one["is_standing"]
    ]
    in_place = {one["segment_id"]: one for one in json.loads((done.report_path.parent / "segments.json").read_text())}
    keys = ("archetype", "evidence", "facet", "figures", "names_by_figures", "segment_id", "top_categories")
    for one in told["segments"]:
        assert one == {key: in_place[one["segment_id"]][key] for key in keys}

    assert {one["facet"] for one in told["segments"]} == {"behaviour", "interest"}
    first, long, friends = (one["segment_id"] for one in told["segments"][:3])
    assert in_place[first]["proposed_names"] == {one: MARKED + one for one in LANGUAGES}
    assert in_place[long]["proposed_names"] is None
    flat = pq.read_table(done.report_path.parent / "segments.parquet").to_pandas()
    assert flat.columns[-1] == "proposed_name"
    assert dict(zip(flat.segment_id, flat.proposed_name, strict=True))[friends] == "Our friends"
    (doubt,) = (note for note in done.notes if "naming.proposer" in note)
    assert doubt.endswith(f"left out of what was proposed: {long}: expected a name of at most 80 characters, found 81.")

    # All the rest is as without it: rows, columns, the page, the model.
    before = json.loads((plain.report_path.parent / "segments.json").read_text())
    after = [{**one, "run_id": plain.run_id} for one in in_place.values()]
    assert [{key: value for key, value in one.items() if key != "proposed_names"} for one in after] == before
    assert "proposed_names" not in before[0] and "Names    " not in plain.as_text()
    assert pq.read_schema(plain.report_path.parent / "segments.parquet").names == list(flat.columns[:-1])
    page, told_of = done.report_path.read_text(), re.compile('<p class="quiet"[^>]*>Proposed name:.*?</p>')
    shown = [html.unescape(re.sub("<[^>]+>", "", one)) for one in told_of.findall(page)]
    assert shown == [f"Proposed name: {MARKED}en", "Proposed name: Our friends"]
    assert told_of.sub("", page).replace(done.run_id, plain.run_id) == plain.report_path.read_text()

    # The command that is told takes it.
    text = done.as_text()
    (line,) = (one for one in text.splitlines() if "'Our friends'" in one)
    assert line.endswith(f"  # now {rows[friends]['name']}")
    words = shlex.split(line, comments=True)
    assert words[1:4] == ["rename", friends, "Our friends"] and f"outputs.folder={tmp_path / 'outputs'}" in words
    assert main(words[1:]) == 0
    assert "is called 'Our friends' from now on" in capsys.readouterr().out
    page = done.report_path.read_text()
    assert "<h3>Our friends</h3>" in page and page.count("Proposed name:") == 1
    mlflow = mlflow_runs.open_store(given)
    assert mlflow.MlflowClient().get_run(done.run_id).data.params["naming.proposer_seconds"] == "60.0"


def test_what_is_asked_for_and_what_may_be_a_name(tmp_path: Path) -> None:
    lines = (READ, "print(json.dumps({one['segment_id']: f\"Kind {one['segment_id']}\" for one in asked['segments']}))")
    found, doubt = proposed(proposer(tmp_path, *lines))
    assert (list(found), doubt) == (["s01", "s02", "s03"], "")  # not the small one, those by rule, those by hand
    each = {"en": "A", "uk": "Б", "ru": "В", "sq": "C"}
    assert proposed(answering(tmp_path, {"s01": each, "s02": " a\u00a0 b ", "s03": None})) == (
        {"s01": each, "s02": dict.fromkeys(LANGUAGES, "a b")},
        "",
    )
    assert proposed(answering(tmp_path, {"s01": "Regulars"}))[1] == ""
    none_asked = [one for one in TABLE if one["segment_id"] not in found]
    assert proposed(proposer(tmp_path, "raise SystemExit(3)"), table=none_asked) == ({}, "")


ONE_LINE = "s01: expected one line of printable characters that begins with no dash."
A_TEXT = "s01: expected a text, or one for each of en, uk, ru, sq."
TAKEN = "s01: another segment is called so."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"s01": "a\nb"}, ONE_LINE), ({"s01": " "}, ONE_LINE), ({"s01": "a\x1b[2Jb"}, ONE_LINE), ({"s01": "--reset"}, ONE_LINE),
        ({"s01": "\ud800"}, ONE_LINE), ({"s01": 7}, A_TEXT), ({"s01": {"en": "A"}}, A_TEXT), ({"s01": ["A"]}, A_TEXT),
        ({"s01": dict.fromkeys(LANGUAGES)}, "s01: expected a name that is a text."),
        ({"s01": "x" * 81}, "s01: expected a name of at most 80 characters, found 81."),
        ({"s01": "LOST"}, TAKEN), ({"s01": "s02"}, TAKEN), ({"s01": "Few"}, TAKEN), ({"s01": "Passers-by"}, TAKEN),
        ({"s01": "A", "s02": {**dict.fromkeys(LANGUAGES, "B"), "sq": "a"}}, "s01: proposed for more than one segment; s02: proposed for more than one segment."),
        ({"s04": "A", "s05": "B", "secret": "C"}, "3 for what is no segment that was asked for."),
    ],
)  # fmt: skip
def test_what_is_no_name_is_left_out_and_the_others_stay(answer: dict[str, Any], message: str, tmp_path: Path) -> None:
    found, doubt = proposed(answering(tmp_path, {**answer, "s03": "Kept"}))
    assert found == {"s03": dict.fromkeys(LANGUAGES, "Kept")}
    assert doubt == f"Beware: naming.proposer: left out of what was proposed: {message}"


def test_one_line_tells_of_many_that_are_left_out(tmp_path: Path) -> None:
    table = [segment(f"s{number:02}", f"Kind {number}") for number in range(5)]
    _, doubt = proposed(answering(tmp_path, {one["segment_id"]: 7 for one in table}), table=table)
    assert doubt.endswith("; s02: expected a text, or one for each of en, uk, ru, sq; and 2 more.")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sys.exit('a secret')", "expected a program that ends with exit code 0; its exit code was 1."),
        ("os.kill(os.getpid(), 9)", "expected a program that ends with exit code 0; signal 9 ended it."),
        ("print('no JSON')", 'expected JSON such as {"s01": "Friends of the house"}, found 8 bytes that are none.'),
        ("print('[1]')", 'expected JSON such as {"s01": "Friends of the house"}, found 4 bytes that are none.'),
        ("print('[' * 100_000)", 'expected JSON such as {"s01": "Friends of the house"}, found 100,001 bytes that are none.'),
        ("pass", 'expected JSON such as {"s01": "Friends of the house"}, found 0 bytes that are none.'),
        ("while True: print('x' * 2**16)", f"expected an answer of at most {MAX_ANSWER_BYTES:,} bytes, more came."),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_told_in_one_line(line: str, message: str, tmp_path: Path) -> None:
    assert proposed(proposer(tmp_path, "import os, sys", line)) == ({}, f"Beware: naming.proposer: {message}")


@pytest.mark.parametrize("line", ["time.sleep(60)", "os.close(1); time.sleep(60)", "if os.fork() == 0: time.sleep(60)"])
def test_a_program_that_takes_too_long_is_stopped_with_all_it_started(line: str, tmp_path: Path) -> None:
    started = time.monotonic()
    found, doubt = proposed(proposer(tmp_path, "import os, time", line), "naming.proposer_seconds=0.3")
    assert time.monotonic() - started < 20
    message = "expected an answer within 0.3 seconds (naming.proposer_seconds), none came."
    assert (found, doubt) == ({}, f"Beware: naming.proposer: {message}")


def test_a_program_that_is_not_there_is_told_at_the_start(
    params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.train.read_source", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(
        UserError, match=r"naming\.proposer: expected a program that can be run, found none called 'no-such'"
    ):
        train(params("naming.proposer=[no-such]"), sweep=False, progress=quiet)

    script = tmp_path / "names.sh"
    script.write_text('#!/bin/sh\necho "{\\"s01\\": \\"$1 in $(basename $PWD)\\"}"\n')
    (tmp_path / "mine.yaml").write_text(f"base: {PARAMS}\nnaming: {{proposer: [./names.sh, A b]}}\n")
    given = load_params(tmp_path / "mine.yaml")
    with pytest.raises(UserError) as not_executable:
        require_proposer(given)
    assert f"{script} is there and not executable. Make it so with chmod +x {script}, or" in str(not_executable.value)
    script.chmod(0o755)
    require_proposer(given)
    monkeypatch.chdir("/")
    (found,), _ = with_proposals([segments_of(TABLE)], given, progress=quiet)
    assert found.table[0]["proposed_names"]["en"] == f"A b in {tmp_path.name}"
    script.write_bytes(b"\x7fELF of another machine")
    assert (
        "expected a program that starts, found one that does not"
        in with_proposals([segments_of(TABLE)], given, progress=quiet)[1]
    )


@pytest.mark.parametrize(
    "words",
    [
        "[a, --api-key, x]",
        "[a, --openai-api-key, x]",
        "[a, --db-password, x]",
        "[a, '--token=x']",
        "[env, OPENAI_API_KEY=x, a]",
        "[a, 'https://ann:x@host']",
    ],
)
def test_no_password_is_among_the_words(words: str) -> None:
    with pytest.raises(ParamsError, match=r"^--set naming\.proposer: `naming\.proposer`: expected no password among"):
        load_params(PARAMS, [f"naming.proposer={words}"])


@pytest.mark.parametrize("given", ['proposer=["cat", "a\\0b"]', "proposer_seconds=.inf", "proposer_seconds=1e9"])
def test_what_no_program_can_be_started_with_is_refused_at_the_start(given: str) -> None:
    with pytest.raises(ParamsError, match=r"`naming\.proposer"):
        load_params(PARAMS, [f"naming.{given}"])


def test_words_that_are_no_password() -> None:
    words = ["a", "--max-tokens", "300", "--max-tokens=300", "--tokenizer", "x", "-", "--"]
    assert load_params(PARAMS, [f"naming.proposer={json.dumps(words)}"]).naming.proposer == words


def test_off_by_default() -> None:
    given = load_params(PARAMS)
    assert given.naming.proposer is None
    segments: Any = object()
    assert with_proposals([segments], given, progress=pytest.fail) == ([segments], "")
    require_proposer(given)


def test_a_proposal_is_shown_until_a_person_names_the_segment() -> None:
    one = segment("s01", "Regulars", proposed_names={**dict.fromkeys(LANGUAGES, "Friends"), "uk": "Друзі"})
    assert [proposed_name(one, language) for language in LANGUAGES] == ["Friends", "Друзі", "Friends", "Friends"]
    assert proposed_name({**one, "names": dict.fromkeys(LANGUAGES, "Ours")}, "en") is None
    assert proposed_name(segment("s01", "Friends", proposed_names=one["proposed_names"]), "en") is None
    assert proposed_name({**one, "proposed_names": None}, "en") is None
    params, table = load_params(PARAMS, ["language=uk"]), pd.DataFrame([one, {**TABLE[1], "proposed_names": None}])
    head, line = proposals_text(params, table, is_champion=False)
    assert head.endswith("once this run is promoted:") and line.split("rename")[1].startswith(" s01 'Друзі' --params")
    assert proposals_text(params, pd.DataFrame(TABLE), is_champion=True) == []
    assert len({wording(language)("cards.proposed") for language in LANGUAGES}) == 4
