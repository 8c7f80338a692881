"""Names that a program of the user's own proposes from aggregates alone; a person takes one with `kindred rename`."""

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from models.naming import LANGUAGES
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.segmentation.describe import Segments

MAX_NAME_CHARS = 80
"""Longer ones are cut in tables and figures."""

TOLD = ("facet", "segment_id", "names_by_figures", "archetype", "evidence", "top_categories", "figures")
"""All that the program is told of a segment, as in segments.json."""
MAX_ANSWER_BYTES = 2**20
MOST_REASONS = 3
"""Proposals left out, of which the warning says why."""


class NoProposals(UserError):
    """The program did not answer as it should; a training goes on without it."""


def require_proposer(params: Params) -> None:
    """Nothing, where `naming.proposer` is null or names a program.

    Raises
    ------
    UserError
        There is no such program, or it may not be run.
    """
    words = params.naming.proposer
    if words is None or _program(words[0], params) is not None:
        return
    path = _below(words[0], params)
    if path.is_file():
        raise UserError(
            f"naming.proposer: expected a program that can be run; {path} is there and not executable. Make it so with "
            f"{shlex.join(['chmod', '+x', str(path)])}, or set naming.proposer to null."
        )
    raise UserError(
        f"naming.proposer: expected a program that can be run, found none called {words[0]!r} on the PATH, nor "
        f"from {params.folder} on. Name another, or set it to null."
    )


def _below(word: str, params: Params) -> Path:
    return (params.folder / word).absolute()


def _program(word: str, params: Params) -> str | None:
    """Where the program lies; a link to it is left as it is, as Python knows its environment by it."""
    below = shutil.which(str(_below(word, params)))
    return below if os.sep in word else shutil.which(word) or below


def with_proposals(
    facets: Sequence[Segments], params: Params, *, progress: Callable[[str], None]
) -> tuple[list[Segments], str]:
    """Segments whose rows have ``proposed_names``, and a warning where the program did not do as expected.

    A proposal changes no name. Without `naming.proposer` there is no such key, and no warning. Asked for are the names
    of segments, of all facets, that can be renamed, that are not small and that have no name by hand.
    """
    if params.naming.proposer is None:
        return list(facets), ""
    rows = [one for segments in facets for one in segments.table]
    asked = [one for one in rows if _is_asked(one)]
    proposed: dict[str, dict[str, str]] = {}
    doubt = ""
    if asked:
        progress("asking naming.proposer for names")
        try:
            answer = _parsed(_answer(_question(asked, facets[0].shop, params), params))
            proposed, doubt = _checked(answer, asked, rows)
        except NoProposals as error:
            doubt = str(error)
    found = [
        replace(segments, table=[{**one, "proposed_names": proposed.get(one["segment_id"])} for one in segments.table])
        for segments in facets
    ]
    return found, doubt and f"Beware: naming.proposer: {doubt}"


def _is_asked(segment: Mapping[str, Any]) -> bool:
    is_by_figures = segment["names"] == segment["names_by_figures"]
    return is_by_figures and not segment["is_small"] and not segment["is_standing"]


def _question(asked: list[dict[str, Any]], shop: Mapping[str, float], params: Params) -> bytes:
    told = {
        "language": params.language,
        "languages": LANGUAGES,
        "segments": [{name: one[name] for name in TOLD} for one in asked],
        "shop": shop,
    }
    return json.dumps(told, sort_keys=True, allow_nan=False).encode()


def _answer(question: bytes, params: Params) -> bytes:
    """What the program writes when it reads ``question``; what it says beside that is not kept, as it may be anything.

    Raises
    ------
    NoProposals
        It does not start, fails, takes too long or writes too much.
    """
    words, seconds = params.naming.proposer or [], params.naming.proposer_seconds
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as asked:  # and no pipe: it may answer before it has read all, or read nothing
        asked.write(question)
        asked.seek(0)
        try:
            process = subprocess.Popen(
                [_program(words[0], params) or words[0], *words[1:]],
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=params.folder,
                start_new_session=True,
            )
        except OSError as error:
            raise NoProposals(f"expected a program that starts, found one that does not: {error.strerror}.") from None
    with process:
        try:
            found = _read(process.stdout, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic())) if len(found) <= MAX_ANSWER_BYTES else 0
        except subprocess.TimeoutExpired:
            raise NoProposals(
                f"expected an answer within {seconds:g} seconds (naming.proposer_seconds), none came."
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what it started
    if len(found) > MAX_ANSWER_BYTES:
        raise NoProposals(f"expected an answer of at most {MAX_ANSWER_BYTES:,} bytes, more came.")
    if code:
        how = f"its exit code was {code}" if code > 0 else f"signal {-code} ended it"
        raise NoProposals(f"expected a program that ends with exit code 0; {how}.")
    return found


def _read(pipe: IO[bytes] | None, deadline: float) -> bytes:
    """All that is written, or a little more than may be."""
    assert pipe is not None
    found = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while ready.select(max(0.0, deadline - time.monotonic())):
            part = os.read(pipe.fileno(), 2**16)
            found += part
            if not part or len(found) > MAX_ANSWER_BYTES:
                return bytes(found)
    raise subprocess.TimeoutExpired("naming.proposer", deadline)


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NoProposals(
            f'expected JSON such as {{"s01": "Friends of the house"}}, found {len(answer):,} bytes that are none.'
        )
    return told


def _checked(
    answer: Mapping[str, Any], asked: list[dict[str, Any]], table: list[dict[str, Any]]
) -> tuple[dict[str, dict[str, str]], str]:
    """Proposals that could be names: segment_id -> language -> name; and what was left out, and why."""
    found: dict[str, dict[str, str]] = {}
    left_out: dict[str, str] = {}
    told = {one["segment_id"]: answer[one["segment_id"]] for one in asked if answer.get(one["segment_id"]) is not None}
    for segment_id, names in told.items():
        others = [one for one in table if one["segment_id"] != segment_id]
        try:
            found[segment_id] = _names(names)
        except UserError as error:
            left_out[segment_id] = str(error).rstrip(".")
            continue
        if _alike(found[segment_id]) & {name for one in others for name in _alike(one["names"]) | {one["segment_id"]}}:
            left_out[segment_id] = "another segment is called so"
            del found[segment_id]
    times = Counter(name for names in found.values() for name in _alike(names))
    twice = {one for one, names in found.items() if any(times[name] > 1 for name in _alike(names))}
    left_out |= dict.fromkeys(sorted(twice), "proposed for more than one segment")
    unknown = len(answer.keys() - {one["segment_id"] for one in asked})
    return {one: names for one, names in found.items() if one not in twice}, _in_words(left_out, unknown)


def _in_words(left_out: Mapping[str, str], unknown: int) -> str:
    """Which proposals were left out; not what they were, which may be anything."""
    reasons = [f"{segment_id}: {why}" for segment_id, why in left_out.items()]
    more = len(reasons) - MOST_REASONS
    told = [*reasons[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])]
    told += [f"{unknown} for what is no segment that was asked for"] if unknown else []
    return f"left out of what was proposed: {'; '.join(told)}." if told else ""


def _alike(names: Mapping[str, str]) -> set[str]:
    """Names in all languages, whatever their case: one that is taken is the name in each."""
    return {name.casefold() for name in names.values()}


def _names(told: object) -> dict[str, str]:
    """Language -> name, of one text or of a text per language.

    Raises
    ------
    UserError
        It is neither, or one of them cannot be a name.
    """
    names = dict.fromkeys(LANGUAGES, told) if isinstance(told, str) else told
    if not isinstance(names, dict) or names.keys() != set(LANGUAGES):
        raise UserError(f"expected a text, or one for each of {', '.join(LANGUAGES)}")
    return {language: _name(names[language]) for language in LANGUAGES}


def _name(text: object) -> str:
    if not isinstance(text, str):
        raise UserError("expected a name that is a text")
    clean = " ".join(text.split())
    if len(text.strip().splitlines()) != 1 or not clean.isprintable() or clean.startswith("-"):
        raise UserError("expected one line of printable characters that begins with no dash")
    return clean_name(clean)


def clean_name(name: str) -> str:
    """``name`` with single spaces.

    Raises
    ------
    UserError
        It is empty or too long.
    """
    clean = " ".join(name.split())
    if not clean:
        raise UserError("expected a name with a letter in it; to take a given name back, use --reset.")
    if len(clean) > MAX_NAME_CHARS:
        raise UserError(f"expected a name of at most {MAX_NAME_CHARS} characters, found {len(clean)}.")
    return clean
