"""What `make audit` says of the answer of pip-audit."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

verdict = runpy.run_path(str(Path(__file__).parents[1] / ".github" / "audit.py"))["verdict"]
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("dependencies", "code", "words"),
    [
        ([CLEAN, CLEAN], 0, "2 of 2 pins were audited, with 0 advisories."),
        ([CLEAN, BAD], 1, "c 2: PYSEC-1, fixed in 3\n2 of 2 pins were audited, with 1 advisories."),
        ([BAD, SKIPPED], 1, "Not audited: b"),
        ([CLEAN, SKIPPED], 2, "1 of 2 pins were audited"),
        ([SKIPPED, SKIPPED], 2, "Nothing was audited: the package index here has no advisories."),
    ],
)
def test_only_what_was_looked_up_is_called_audited(dependencies: list[Any], code: int, words: str) -> None:
    found, text = verdict(json.dumps({"dependencies": dependencies}), "")
    assert found == code and words in text


def test_an_audit_without_an_answer_says_so() -> None:
    assert verdict("", "a\nno route to host\n") == (
        2,
        "Nothing was audited, as no database of advisories can be had here. no route to host",
    )
