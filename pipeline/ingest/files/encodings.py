"""Finds the encoding of text files, and copies those in another than UTF-8 to UTF-8."""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from pipeline.ingest.files.formats import SIGNATURES, FileError, TextFile, open_bytes

UTF8, AUTO = "utf-8", "auto"
MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, with which its mark begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks."""
LATIN = ("cp1252", "cp1250", "cp1254")
OTHERS = ("cp1251", "koi8-u", "cp1253", "cp866")
EAST_ASIAN = ("cp932", "gb18030")
"""Encodings that are tried; of equally good ones, the first is taken."""
CHUNK_BYTES, MAX_SAMPLE_BYTES, MAX_SAMPLE_LINES = 2**20, 2**16, 200_000
WORD = re.compile(rb"[\x40-\xff]+")
"""Letters; digits and the signs between columns say nothing."""
ASCII_LETTER = re.compile(rb"[A-Za-z]")


@dataclass(frozen=True)
class Encoding:
    """An encoding, and whether it is known from a byte order mark or params.yaml."""

    name: str
    is_known: bool = False


def find_encoding(file: TextFile, declared: str) -> Encoding:
    """The encoding of a file; UTF-8 as long as its first part is UTF-8.

    Raises
    ------
    FileError
        It is not text, or UTF-16 without a mark.
    """
    with open_bytes(file.path) as handle:
        head = handle.read(CHUNK_BYTES)
    kind = next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), None)
    if kind is not None:
        raise FileError(
            f"{file.name.name}: expected text, found {kind}. Give it its right suffix, or declare its format.",
            setting="format",
        )
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if marked or declared != AUTO:
        return Encoding(marked or codecs.lookup(declared).name.removesuffix("-sig"), is_known=True)
    if b"\0" in head[:4]:
        raise FileError(
            f"{file.name.name}: found zero bytes, as in UTF-16 without a mark. Try utf-16-le or utf-16-be.",
            setting="encoding",
        )
    return Encoding(UTF8) if _is_utf8(head, final=False) else guess_encoding(file.path)


def guess_encoding(path: Path) -> Encoding:
    """The encoding in which a file's letters make the most likely text.

    UTF-8 if most lines with a letter that is not ASCII are UTF-8: then a few are broken. Czech, Hungarian and Turkish
    letters look like those of Western Europe: they become wrong letters, the same ones everywhere.
    """
    words: dict[bytes, None] = {}
    size = valid = invalid = 0
    with open_bytes(path) as handle:
        for line in islice((line for line in handle if not line.isascii()), MAX_SAMPLE_LINES):
            is_valid = _is_utf8(line, final=True)
            valid, invalid = valid + is_valid, invalid + (not is_valid)
            for word in WORD.findall(line) if not is_valid and size < MAX_SAMPLE_BYTES else ():
                if not word.isascii():
                    size += 0 if word in words else len(word)
                    words[word] = None
    if valid > invalid:
        return Encoding(UTF8)
    return Encoding(_most_likely([*words]))


def _most_likely(words: Sequence[bytes]) -> str:
    whole = [word for word in words if len(word) > 1]  # a sign alone, such as that of the pound, may be any letter
    is_latin = 2 * sum(bool(ASCII_LETTER.search(word)) for word in whole) >= len(whole)
    scores: dict[str, tuple[float, float]] = {}
    for name in (*(LATIN if is_latin else OTHERS), *EAST_ASIAN):
        # One at a time: of several, it takes the first in alphabetical order, such as cp1250 for French.
        alone = [name.replace("-", "_")]
        match = from_bytes(
            b" ".join(whole), cp_isolation=alone, threshold=1.0, preemptive_behaviour=False, enable_fallback=False
        ).best()
        if match is not None:
            scores[name] = (round(match.chaos, 2), -round(match.coherence, 2))
    return min(scores, key=scores.__getitem__, default=LATIN[0])


def _is_utf8(part: bytes, *, final: bool) -> bool:
    try:
        codecs.getincrementaldecoder(UTF8)().decode(part, final)
    except UnicodeDecodeError:
        return False
    return True


def copy_as_utf8(file: TextFile, encoding: str, folder: Path) -> Path:
    """A copy in UTF-8, decompressed, in ``folder``. Bytes that mean nothing stay as they are and so break their rows.

    Raises
    ------
    FileError
        The file is not in ``encoding``.
    """
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    with (
        open_bytes(file.path) as source,
        tempfile.NamedTemporaryFile(dir=folder, suffix=".txt", delete=False) as target,
    ):
        try:
            text = decoder.decode(source.read(CHUNK_BYTES)).removeprefix("\ufeff")
            while chunk := source.read(CHUNK_BYTES):
                target.write(text.encode(UTF8, "surrogateescape"))
                text = decoder.decode(chunk)
            text += decoder.decode(b"", final=True)
            target.write(text.encode(UTF8, "surrogateescape"))
        except UnicodeError:
            raise FileError(
                f"{file.name.name}: expected text in {encoding}, found bytes that are not.", setting="encoding"
            ) from None
    return Path(target.name)
