"""Params files that are built to be large, deep or strange are refused at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params

PARAMS = Path(__file__).parents[3] / "params.yaml"


def aliases(width: int, levels: int) -> str:
    """Each level repeats the one before it: width ** levels values."""
    lines = [f"a0: &a0 [{', '.join('x' * width)}]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * width)}]" for at in range(1, levels)]
    return "\n".join(lines)


def refused(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    started = time.process_time()
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert time.process_time() - started < 5
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (aliases(9, 9), "Line 6 has more than 200,000 values; aliases repeat what they stand for"),
        (aliases(2, 40), "aliases repeat what they stand for"),
        ("a: &a\n  b: *a\n", "The section in line 1 holds an alias of itself"),
        ("[" * 100_000, "Line 1 is more than 32 levels deep"),
        ("a: " + "{b: " * 40 + "1" + "}" * 40, "Line 1 is more than 32 levels deep"),
        ("a: " + "x" * 2**23, "more than 8 MiB"),
        ("? [a, b]\n: 1\n", "line 1: expected a key, found a list or a section"),
        ("seed: !!int x\n", "line 1: expected a date that exists, such as 2025-11-01, or a number in digits"),
        ("seed: !!timestamp x\n", "A value does not fit the tag before it"),
        ("seed: !!bool x\n", "A value does not fit the tag before it"),
        ("seed: " + "9" * 5000, "line 1: expected a date that exists, such as 2025-11-01, or a number in digits"),
        ("a: 0001-01-01T00:00:00+14:00", "is not a key that Kindred knows"),
        (b"\xff\xfe", "expected a readable params file in UTF-8"),
        ('base: "\\0"', "Line 1 has a zero byte"),
    ],
)
def test_hostile_yaml_is_refused_in_one_message(tmp_path: Path, text: str | bytes, expected: str) -> None:
    prefix = "" if isinstance(text, bytes) or text.startswith(("[", "?", "base")) else f"# base: {PARAMS}\n"
    message = refused(tmp_path / "mine.yaml", text if isinstance(text, bytes) else text + f"\n{prefix}")
    assert expected in message
    assert message.startswith(str(tmp_path / "mine.yaml")) or "`a`" in message or "base" in message


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ParamsError, match="more than 8 MiB"):
        load_params(Path("/dev/zero"))


@pytest.mark.parametrize("value", ["[" * 200, "&a [*a]", f"{{{', '.join(aliases(9, 9).splitlines())}}}"])
def test_an_override_has_the_same_bounds(value: str) -> None:
    with pytest.raises(ParamsError):
        load_params(PARAMS, [f"seed={value}"])


def test_a_few_aliases_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {PARAMS}\nseed: &seed 7\nclustering: {{kmeans: {{n_init: *seed}}}}\n")
    assert load_params(path).clustering.kmeans.n_init == 7


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "1677-01-01T00:00:00Z"])
def test_as_of_at_the_ends_of_time_is_refused(moment: str) -> None:
    with pytest.raises(ParamsError, match="expected a moment between the years 1900 and 2200"):
        load_params(PARAMS, [f"as_of={moment}"])
