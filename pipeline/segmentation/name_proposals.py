"""Name proposals from the user's own program, which sees only aggregates; `kindred rename` accepts one."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from models.naming import LANGUAGES
from models.segment_names import Texts
from models.segments import Segment
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.types import is_one_line
from pipeline.segmentation.describe import Segments

MAX_NAME_CHARS = 80
"""Longer names would be cut off in tables and figures."""

SENT_KEYS = ("facet", "segment_id", "names_by_figures", "archetype", "evidence", "top_categories", "figures")
"""Everything the program receives about a segment, as in segments.json."""
MAX_ANSWER_BYTES = 2**20
MAX_REASONS = 3
"""Rejected proposals for which the warning gives a reason."""


class NoProposalsError(UserError):
    """The program failed or gave no usable answer; the training continues without it."""


def require_proposer(params: Params) -> None:
    """Check that `naming.proposer` is null or names a program.

    Raises
    ------
    UserError
        The program does not exist, or is not executable.
    """
    words = params.naming.proposer
    if words is None or _program(words[0], params) is not None:
        return
    path = _below(words[0], params)
    if path.is_file():
        raise UserError(
            f"naming.proposer: expected a program that can be run, but {path} is not executable. Make it executable "
            f"with {shlex.join(['chmod', '+x', str(path)])}, or set naming.proposer to null."
        )
    raise UserError(
        f"naming.proposer: expected a program that can be run, found none called {words[0]!r} on the PATH or in "
        f"{params.folder}. Name another program, or set naming.proposer to null."
    )


def _below(word: str, params: Params) -> Path:
    return (params.folder / word).absolute()


def _program(word: str, params: Params) -> str | None:
    """The path of the program. Links are not resolved, because Python finds its environment through them."""
    below = shutil.which(str(_below(word, params)))
    return below if os.sep in word else shutil.which(word) or below


def add_proposals(facets: Sequence[Segments], params: Params, *, progress: Progress) -> tuple[list[Segments], str]:
    """Add proposed names to the segments. The text is a warning if the program failed.

    A proposal changes no name. The program is asked about segments of all facets, except small segments, rule-based
    groups and segments named by hand. Without `naming.proposer`, nothing is added.
    """
    if params.naming.proposer is None:
        return list(facets), ""
    known = [segment for segments in facets for segment in segments.rows]
    candidates = [segment for segment in known if _needs_proposal(segment)]
    proposed: dict[str, dict[str, str]] = {}
    problem = ""
    if candidates:
        progress("asking naming.proposer for names")
        try:
            answer = _parsed(_answer(_question(candidates, facets[0].shop, params), params))
            proposed, problem = _valid_proposals(answer, candidates, known)
        except NoProposalsError as error:
            problem = str(error)
    with_proposals = [
        replace(segments, rows=tuple(_with_proposal(segment, proposed) for segment in segments.rows))
        for segments in facets
    ]
    return with_proposals, problem and f"Warning: naming.proposer: {problem}"


def _with_proposal(segment: Segment, proposed: Mapping[str, Texts]) -> Segment:
    return segment.with_names(replace(segment.names, proposed=proposed.get(segment.segment_id, {})))


def _needs_proposal(segment: Segment) -> bool:
    return segment.names.is_by_figures and segment.is_shown_in_detail


def _question(candidates: Sequence[Segment], shop: Mapping[str, float], params: Params) -> bytes:
    rows = [segment.as_dict(params.language) for segment in candidates]
    question = {
        "language": params.language,
        "languages": LANGUAGES,
        "segments": [{key: row[key] for key in SENT_KEYS} for row in rows],
        "shop": shop,
    }
    return json.dumps(question, sort_keys=True, allow_nan=False).encode()


def _answer(question: bytes, params: Params) -> bytes:
    """The program's output for ``question``. Its error output is discarded, because it may contain anything.

    Raises
    ------
    NoProposalsError
        The program does not start, fails, takes too long or writes too much.
    """
    words, seconds = params.naming.proposer or [], params.naming.proposer_seconds
    deadline = time.monotonic() + seconds
    # A file rather than a pipe: the program may answer before it has read everything, or read nothing.
    with tempfile.TemporaryFile() as question_file:
        question_file.write(question)
        question_file.seek(0)
        try:
            process = subprocess.Popen(
                [_program(words[0], params) or words[0], *words[1:]],
                stdin=question_file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=params.folder,
                start_new_session=True,
            )
        except OSError as error:
            raise NoProposalsError(f"the program could not be started: {error.strerror}.") from None
    with process:
        try:
            answer = _read(process.stdout, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic())) if len(answer) <= MAX_ANSWER_BYTES else 0
        except subprocess.TimeoutExpired:
            raise NoProposalsError(
                f"expected an answer within {seconds:g} seconds (naming.proposer_seconds), got none."
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # includes its child processes
    if len(answer) > MAX_ANSWER_BYTES:
        raise NoProposalsError(f"expected an answer of at most {MAX_ANSWER_BYTES:,} bytes, got more.")
    if code:
        outcome = f"its exit code was {code}" if code > 0 else f"it was ended by signal {-code}"
        raise NoProposalsError(f"expected the program to end with exit code 0, but {outcome}.")
    return answer


def _read(pipe: IO[bytes] | None, deadline: float) -> bytes:
    """The whole output, or its beginning if it is larger than `MAX_ANSWER_BYTES`."""
    assert pipe is not None
    output = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while ready.select(max(0.0, deadline - time.monotonic())):
            part = os.read(pipe.fileno(), 2**16)
            output += part
            if not part or len(output) > MAX_ANSWER_BYTES:
                return bytes(output)
    raise subprocess.TimeoutExpired("naming.proposer", deadline)


def _parsed(answer: bytes) -> dict[str, object]:
    try:
        proposals = json.loads(answer)
    except (ValueError, RecursionError):
        proposals = None
    if not isinstance(proposals, dict):
        raise NoProposalsError(
            f'expected a JSON object such as {{"s01": "Loyal friends"}}, found {len(answer):,} bytes of something else.'
        )
    return proposals


def _valid_proposals(
    answer: Mapping[str, object], candidates: Sequence[Segment], known: Sequence[Segment]
) -> tuple[dict[str, dict[str, str]], str]:
    """Proposals that are valid names, as segment_id -> language -> name, and a text on those that are rejected."""
    valid: dict[str, dict[str, str]] = {}
    rejected: dict[str, str] = {}
    candidate_ids = [segment.segment_id for segment in candidates]
    for segment_id in candidate_ids:
        if answer.get(segment_id) is None:
            continue
        try:
            names = _names(answer[segment_id])
        except UserError as error:
            rejected[segment_id] = str(error).rstrip(".")
            continue
        others = [segment for segment in known if segment.segment_id != segment_id]
        taken = {name for other in others for name in _casefolded(other.names.in_languages()) | {other.segment_id}}
        if _casefolded(names) & taken:
            rejected[segment_id] = "another segment has this name"
        else:
            valid[segment_id] = names
    counts = Counter(name for names in valid.values() for name in _casefolded(names))
    repeated = {
        segment_id for segment_id, names in valid.items() if any(counts[name] > 1 for name in _casefolded(names))
    }
    rejected |= dict.fromkeys(sorted(repeated), "proposed for more than one segment")
    unknown_count = len(answer.keys() - set(candidate_ids))
    unique = {segment_id: names for segment_id, names in valid.items() if segment_id not in repeated}
    return unique, _rejections_text(rejected, unknown_count)


def _rejections_text(rejected: Mapping[str, str], unknown_count: int) -> str:
    """The rejected proposals and the reasons. The proposals are not quoted, because they may contain anything."""
    reasons = [f"{segment_id}: {reason}" for segment_id, reason in rejected.items()]
    more = len(reasons) - MAX_REASONS
    parts = [*reasons[:MAX_REASONS], *([f"and {more} more"] if more > 0 else [])]
    parts += [f"{unknown_count} for segments that were not asked about"] if unknown_count else []
    return f"proposals rejected: {'; '.join(parts)}." if parts else ""


def _casefolded(names: Mapping[str, str]) -> set[str]:
    """The names in all languages, without case: a name taken in one language is taken in all."""
    return {name.casefold() for name in names.values()}


def _names(proposal: object) -> dict[str, str]:
    """Language -> name, from one text or from a text per language.

    Raises
    ------
    UserError
        The proposal is neither, or one of its texts is not a valid name.
    """
    names = dict.fromkeys(LANGUAGES, proposal) if isinstance(proposal, str) else proposal
    if not isinstance(names, dict) or names.keys() != set(LANGUAGES):
        raise UserError(f"expected a text, or one for each of {', '.join(LANGUAGES)}")
    return {language: _name(names[language]) for language in LANGUAGES}


def _name(text: object) -> str:
    if not isinstance(text, str):
        raise UserError("expected the name to be a text")
    if not text.strip() or text.strip().startswith("-"):
        raise UserError("expected a name that is not empty and does not begin with a dash")
    return clean_name(text)


def clean_name(name: str) -> str:
    """``name`` with single spaces.

    Raises
    ------
    UserError
        It is empty or too long, or has characters that cannot be seen.
    """
    if not name.strip():
        raise UserError("expected a name that is not empty. To remove a name given by hand, use --reset.")
    # Control characters reach the terminal, line breaks begin a line of their own, and others reorder what it shows.
    if not is_one_line(name.strip()):
        raise UserError(
            "expected a name of printable characters on one line, found a line break, or control or formatting "
            "characters."
        )
    clean = " ".join(name.split())
    if len(clean) > MAX_NAME_CHARS:
        raise UserError(f"expected a name of at most {MAX_NAME_CHARS} characters, found {len(clean)}.")
    return clean
