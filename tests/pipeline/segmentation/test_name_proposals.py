"""Names proposed by a program: they are based on aggregates only, and never replace the names by figures."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.naming import LANGUAGES
from models.segment_names import Texts
from models.segments import Segment
from pipeline.cli import main
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import ParamsError, UserError
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.report.next_steps import proposals_text
from pipeline.report.texts.wording import wording
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.name_proposals import MAX_ANSWER_BYTES, add_proposals, require_proposer
from pipeline.stores import mlflow_runs
from tests.segments import names_of, segment_of

PARAMS = Path(__file__).parents[3] / "params.yaml"
READ = "import json, sys; question = json.load(sys.stdin)"
MARKED = '<i>Gold</i> & "co"'


def proposer(folder: Path, *lines: str) -> str:
    """An override that sets a program with these lines."""
    (folder / "names.py").write_text("\n".join(lines))
    return f"naming.proposer={json.dumps([sys.executable, '-S', str(folder / 'names.py')])}"


def answering(folder: Path, answer: object) -> str:
    return proposer(folder, f"print({json.dumps(answer)!r})")


ROWS = (
    segment_of("s01", "Regulars"),
    segment_of("s02", "Browsers"),
    segment_of("s03", "Lost"),
    segment_of("s04", "Few", is_small=True),
    segment_of("s05").with_names(names_of("VIP").with_given("By hand")),
    segment_of("standing-browsing", "Passers-by"),
)


def segments_of(rows: tuple[Segment, ...]) -> Segments:
    unused: dict[str, Any] = {"labels": {}, "segment_ids": np.array([]), "model": {}, "language": "en"}
    (facet, *_) = facets_of(load_params(PARAMS))
    return Segments(facet, rows, {"buyer_share": 0.4}, pd.DataFrame(), rules_fidelity=1.0, **unused)


def proposed(override: str, *more: str, rows: tuple[Segment, ...] = ROWS) -> tuple[dict[str, Any], str]:
    """segment_id -> proposal of the segments that have one, and the warning."""
    (segments,), warning = add_proposals([segments_of(rows)], load_params(PARAMS, [override, *more]), progress=SILENT)
    without = tuple(row.with_names(replace(row.names, proposed=None)) for row in segments.rows)
    assert without == rows
    assert all("proposed_names" in row for row in segments.table)
    return {row.segment_id: row.names.proposed for row in segments.rows if row.names.proposed}, warning


def test_proposals_are_shown_with_the_command_that_accepts_them_and_change_nothing_else(
    params: Callable[..., Params],
    first_training: tuple[Path, TrainingResult],
    shop: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = (
        READ,
        f"open({str(tmp_path / 'question.json')!r}, 'w').write(json.dumps(question))",
        "ids = [segment['segment_id'] for segment in question['segments']]",
        f"marked = {{language: {MARKED!r} + language for language in {LANGUAGES!r}}}",
        "print(json.dumps({ids[0]: marked, ids[1]: 'x' * 81, ids[2]: ' Our  friends '}))",
    )
    with_proposer = params(proposer(tmp_path, *lines))
    done = train(with_proposer, sweep=False, progress=SILENT)
    _, plain = first_training

    text = (tmp_path / "question.json").read_text()
    known = pq.read_table(shop / "customers.parquet")["customer_id"].to_pylist()
    assert len(known) > 1000 and not set(known) & set(re.findall(r"\w+", text))
    assert str(tmp_path) not in text and str(shop) not in text
    rows = {row["segment_id"]: row for row in done.segments.to_dict("records")}
    question = json.loads(text)
    assert (question["language"], question["languages"]) == ("en", list(LANGUAGES))
    assert [sent["segment_id"] for sent in question["segments"]] == [
        segment_id for segment_id, row in rows.items() if not row["is_small"] and not row["is_standing"]
    ]
    written = {row["segment_id"]: row for row in json.loads((done.report_path.parent / "segments.json").read_text())}
    keys = ("archetype", "evidence", "facet", "figures", "names_by_figures", "segment_id", "top_categories")
    for sent in question["segments"]:
        assert sent == {key: written[sent["segment_id"]][key] for key in keys}

    assert {sent["facet"] for sent in question["segments"]} == {"behaviour", "interest"}
    first, long, friends = (sent["segment_id"] for sent in question["segments"][:3])
    assert written[first]["proposed_names"] == {language: MARKED + language for language in LANGUAGES}
    assert written[long]["proposed_names"] is None
    flat = pq.read_table(done.report_path.parent / "segments.parquet").to_pandas()
    assert flat.columns[-1] == "proposed_name"
    assert dict(zip(flat.segment_id, flat.proposed_name, strict=True))[friends] == "Our friends"
    (warning,) = (note for note in done.notes if "naming.proposer" in note)
    assert warning.endswith(f"proposals rejected: {long}: expected a name of at most 80 characters, found 81.")

    # Everything else is the same as without a proposer: rows, columns, the page, the model.
    before = json.loads((plain.report_path.parent / "segments.json").read_text())
    after = [{**row, "run_id": plain.run_id} for row in written.values()]
    assert [{key: value for key, value in row.items() if key != "proposed_names"} for row in after] == before
    assert "proposed_names" not in before[0] and "Names    " not in plain.as_text()
    assert pq.read_schema(plain.report_path.parent / "segments.parquet").names == list(flat.columns[:-1])
    page, proposal_line = done.report_path.read_text(), re.compile('<p class="quiet"[^>]*>Proposed name:.*?</p>')
    shown = [html.unescape(re.sub("<[^>]+>", "", line)) for line in proposal_line.findall(page)]
    assert shown == [f"Proposed name: {MARKED}en", "Proposed name: Our friends"]
    assert proposal_line.sub("", page).replace(done.run_id, plain.run_id) == plain.report_path.read_text()

    # The printed command accepts the proposal.
    (line,) = (line for line in done.as_text().splitlines() if "'Our friends'" in line)
    assert line.endswith(f"  # now {rows[friends]['name']}")
    words = shlex.split(line, comments=True)
    assert words[1:4] == ["rename", friends, "Our friends"] and f"outputs.folder={tmp_path / 'outputs'}" in words
    assert main(words[1:]) == 0
    assert "is now called 'Our friends'" in capsys.readouterr().out
    page = done.report_path.read_text()
    assert "<h3>Our friends</h3>" in page and page.count("Proposed name:") == 1
    store = mlflow_runs.open_store(with_proposer)
    assert mlflow_runs.read_run(store, done.run_id).params["naming.proposer_seconds"] == "60.0"


def test_which_segments_are_sent_and_which_answers_are_names(tmp_path: Path) -> None:
    lines = (
        READ,
        "ids = [segment['segment_id'] for segment in question['segments']]",
        "print(json.dumps({segment_id: f'Kind {segment_id}' for segment_id in ids}))",
    )
    names, warning = proposed(proposer(tmp_path, *lines))
    # Small segments, rule-based groups and segments named by hand are not sent.
    assert (list(names), warning) == (["s01", "s02", "s03"], "")
    each = {"en": "A", "uk": "Б", "ru": "В", "sq": "C"}
    assert proposed(answering(tmp_path, {"s01": each, "s02": " a\u00a0 b ", "s03": None})) == (
        {"s01": each, "s02": dict.fromkeys(LANGUAGES, "a b")},
        "",
    )
    assert proposed(answering(tmp_path, {"s01": "Regulars"}))[1] == ""
    none_sent = tuple(row for row in ROWS if row.segment_id not in names)
    assert proposed(proposer(tmp_path, "raise SystemExit(3)"), rows=none_sent) == ({}, "")


DASH = "s01: expected a name that is not empty and does not begin with a dash."
UNSEEN = (
    "s01: expected a name of printable characters on one line, found a line break, or control or formatting characters."
)
A_TEXT = "s01: expected a text, or one for each of en, uk, ru, sq."
TAKEN = "s01: another segment has this name."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"s01": "a\nb"}, UNSEEN), ({"s01": " "}, DASH), ({"s01": "a\x1b[2Jb"}, UNSEEN), ({"s01": "--reset"}, DASH),
        ({"s01": "\ud800"}, UNSEEN), ({"s01": "a\u202eb"}, UNSEEN), ({"s01": 7}, A_TEXT), ({"s01": {"en": "A"}}, A_TEXT), ({"s01": ["A"]}, A_TEXT),
        ({"s01": dict.fromkeys(LANGUAGES)}, "s01: expected the name to be a text."),
        ({"s01": "x" * 81}, "s01: expected a name of at most 80 characters, found 81."),
        ({"s01": "LOST"}, TAKEN), ({"s01": "s02"}, TAKEN), ({"s01": "Few"}, TAKEN), ({"s01": "Passers-by"}, TAKEN),
        ({"s01": "A", "s02": {**dict.fromkeys(LANGUAGES, "B"), "sq": "a"}}, "s01: proposed for more than one segment; s02: proposed for more than one segment."),
        ({"s04": "A", "s05": "B", "secret": "C"}, "3 for segments that were not asked about."),
    ],
)  # fmt: skip
def test_invalid_names_are_rejected_and_the_others_kept(answer: dict[str, Any], message: str, tmp_path: Path) -> None:
    names, warning = proposed(answering(tmp_path, {**answer, "s03": "Kept"}))
    assert names == {"s03": dict.fromkeys(LANGUAGES, "Kept")}
    assert warning == f"Warning: naming.proposer: proposals rejected: {message}"


def test_many_rejected_proposals_are_summarised_in_one_line(tmp_path: Path) -> None:
    rows = tuple(segment_of(f"s{number:02}", f"Kind {number}") for number in range(5))
    _, warning = proposed(answering(tmp_path, {row.segment_id: 7 for row in rows}), rows=rows)
    assert warning.endswith("; s02: expected a text, or one for each of en, uk, ru, sq; and 2 more.")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sys.exit('a secret')", "expected the program to end with exit code 0, but its exit code was 1."),
        ("os.kill(os.getpid(), 9)", "expected the program to end with exit code 0, but it was ended by signal 9."),
        ("print('no JSON')", 'expected a JSON object such as {"s01": "Loyal friends"}, found 8 bytes of something else.'),
        ("print('[1]')", 'expected a JSON object such as {"s01": "Loyal friends"}, found 4 bytes of something else.'),
        ("print('[' * 100_000)", 'expected a JSON object such as {"s01": "Loyal friends"}, found 100,001 bytes of something else.'),
        ("pass", 'expected a JSON object such as {"s01": "Loyal friends"}, found 0 bytes of something else.'),
        ("while True: print('x' * 2**16)", f"expected an answer of at most {MAX_ANSWER_BYTES:,} bytes, got more."),
    ],
)  # fmt: skip
def test_a_program_that_fails_causes_a_warning_of_one_line(line: str, message: str, tmp_path: Path) -> None:
    assert proposed(proposer(tmp_path, "import os, sys", line)) == ({}, f"Warning: naming.proposer: {message}")


@pytest.mark.parametrize("line", ["time.sleep(60)", "os.close(1); time.sleep(60)", "if os.fork() == 0: time.sleep(60)"])
def test_a_program_that_takes_too_long_is_stopped_with_its_child_processes(line: str, tmp_path: Path) -> None:
    started = time.monotonic()
    names, warning = proposed(proposer(tmp_path, "import os, time", line), "naming.proposer_seconds=0.3")
    assert time.monotonic() - started < 20
    message = "expected an answer within 0.3 seconds (naming.proposer_seconds), got none."
    assert (names, warning) == ({}, f"Warning: naming.proposer: {message}")


def test_a_program_that_cannot_be_run_is_reported_before_the_training(
    params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.train.read_shop", lambda *_, **__: pytest.fail("the training began"))
    with pytest.raises(
        UserError, match=r"naming\.proposer: expected a program that can be run, found none called 'no-such'"
    ):
        train(params("naming.proposer=[no-such]"), sweep=False, progress=SILENT)

    script = tmp_path / "names.sh"
    script.write_text('#!/bin/sh\necho "{\\"s01\\": \\"$1 in $(basename $PWD)\\"}"\n')
    (tmp_path / "mine.yaml").write_text(f"base: {PARAMS}\nnaming: {{proposer: [./names.sh, A b]}}\n")
    with_script = load_params(tmp_path / "mine.yaml")
    with pytest.raises(UserError) as not_executable:
        require_proposer(with_script)
    assert f"{script} is not executable. Make it executable with chmod +x {script}, or" in str(not_executable.value)
    script.chmod(0o755)
    require_proposer(with_script)
    monkeypatch.chdir("/")
    (segments,), _ = add_proposals([segments_of(ROWS)], with_script, progress=SILENT)
    assert segments.table[0]["proposed_names"]["en"] == f"A b in {tmp_path.name}"
    script.write_bytes(b"\x7fELF of another machine")
    _, warning = add_proposals([segments_of(ROWS)], with_script, progress=SILENT)
    assert "the program could not be started" in warning


def test_of_the_command_only_the_program_is_saved() -> None:
    words = ["ask", "--api-key", "hush", "--token=hush", "-phush"]
    proposer = load_params(PARAMS, [f"naming.proposer={json.dumps(words)}"]).redacted().naming.proposer
    assert proposer == ["ask", "***", "***", "***", "***"]


@pytest.mark.parametrize("override", ['proposer=["cat", "a\\0b"]', "proposer_seconds=.inf", "proposer_seconds=1e9"])
def test_an_impossible_command_or_timeout_is_refused(override: str) -> None:
    with pytest.raises(ParamsError, match=r"`naming\.proposer"):
        load_params(PARAMS, [f"naming.{override}"])


def test_off_by_default() -> None:
    defaults = load_params(PARAMS)
    assert defaults.naming.proposer is None
    segments: Any = object()
    assert add_proposals([segments], defaults, progress=pytest.fail) == ([segments], "")
    require_proposer(defaults)


def row_of(segment_id: str, name: str, proposal: Texts) -> dict[str, Any]:
    return segment_of(segment_id).with_names(replace(names_of(name), proposed=proposal)).as_dict("en")


def test_a_proposal_is_shown_until_a_person_names_the_segment() -> None:
    proposal = {**dict.fromkeys(LANGUAGES, "Friends"), "uk": "Друзі"}
    names = replace(names_of("Regulars"), proposed=proposal)
    assert [names.proposal(language) for language in LANGUAGES] == ["Friends", "Друзі", "Friends", "Friends"]
    assert names.with_given("Ours").proposal("en") is None
    assert replace(names_of("Friends"), proposed=proposal).proposal("en") is None
    assert names_of("Regulars").proposal("en") is None
    row = row_of("s01", "Regulars", proposal)
    params, table = load_params(PARAMS, ["language=uk"]), pd.DataFrame([row, row_of("s02", "Browsers", {})])
    head, line = proposals_text(params, table, is_champion=False)
    assert head.endswith("once this run is promoted.") and line.split("rename")[1].startswith(" s01 'Друзі' --params")
    assert proposals_text(params, pd.DataFrame([row.as_dict("en") for row in ROWS]), is_champion=True) == []
    assert len({wording(language)("cards.proposed") for language in LANGUAGES}) == 4
