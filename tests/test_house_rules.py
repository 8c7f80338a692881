"""The limits of .github/CONTRIBUTING.md: sizes, layers, words, and tests that use public names only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("features", "models", "pipeline")
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 350
MAX_MODULES = 12
MANY_MODULES = {"pipeline/commands": "it has one module for each command"}
LONG_FILES = {"models/scorer.py": "it is copied into the MLflow model as one file and imports nothing of Kindred"}

TEXTS = (
    *LAYERS,
    "tests",
    "notebooks",
    ".github",
    "README.md",
    "CHANGELOG.md",
    "params.yaml",
    "pyproject.toml",
    "Makefile",
)
TEXT_SUFFIXES = {"", ".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".html", ".css", ".js", ".ipynb"}
OLD_WORDS = re.compile(
    r"\b(told|reckon(?:s|ed|ing)?|fore(?:told|tells?|telling)|beside|surely|beware|akin|mend(?:s|ed|ing)?)\b",
    re.IGNORECASE,
)
"""Words this project once had for show, compute, predict, compared with, with confidence, warning, related, and fix."""
LINEAGE_KEY = "a key of lineage.json, which older runs hold"
ALLOWED_WORDS = {
    **{
        (file, "akin"): LINEAGE_KEY
        for file in (
            "pipeline/stores/mlflow_runs.py",
            "tests/pipeline/segmentation/test_lineage.py",
        )
    }
}
PRIVATE_NAMES = {
    "tests/conftest.py": "MLflow caches stores by run id, and has no public way to clear the cache",
    "tests/chaos/server.py": "a fork ends by os._exit, as it would wait for threads that only its parent has",
    "tests/benchmarks/run.py": "a benchmark measures profiles without the steps after them",
}


def modules(*folders: str) -> Iterator[tuple[str, str]]:
    """Path and text of each Python file."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first, lines = function.body[0], int(function.end_lineno or 0) - function.lineno + 1
    has_docstring = ast.get_docstring(function, clean=False) is not None
    return lines - (int(first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0)


def long_functions(text: str) -> list[str]:
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    sizes = [(function.name, code_lines(function)) for function in functions]
    return [f"{name}: {size}" for name, size in sizes if size > MAX_FUNCTION_LINES]


def private_names(text: str) -> list[str]:
    """Names of others with a leading underscore that a test imports, reads or replaces."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if re.match("_[a-z]", alias.name)]
        elif isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            found += [] if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else [node.attr]
        elif isinstance(node, ast.Constant) and re.fullmatch(
            r"(features|models|pipeline)[\w.]*\._[a-z]\w*", str(node.value)
        ):
            found.append(str(node.value))
    return found


def old_words(text: str) -> list[tuple[int, str]]:
    """Line number and word."""
    lines = enumerate(text.splitlines(), start=1)
    return [(number, match[0].lower()) for number, line in lines for match in OLD_WORDS.finditer(line)]


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of each file in which the words are checked; of DECISIONS.md, the entries since the change."""
    for name in TEXTS:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            is_text = path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts
            if is_text and path != Path(__file__):
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    _, _, since = (ROOT / "DECISIONS.md").read_text(encoding="utf-8").partition("\n## 2026-11-29 Names and words\n")
    yield "DECISIONS.md", since.partition("\n## ")[2]  # the entry itself has the table of old and new words


def refuse(offenders: Collection[str], expected: str) -> None:
    """Fail with the whole list of offenders, which an assertion would shorten."""
    if offenders:
        pytest.fail("\n  ".join([f"{expected}:", *sorted(offenders)]), pytrace=False)


def test_functions_fit_on_a_screen() -> None:
    offenders = [f"{path}: {line}" for path, text in modules(*LAYERS) for line in long_functions(text)]
    refuse(offenders, f"expected functions of at most {MAX_FUNCTION_LINES} lines without the docstring; divide")


def test_files_are_short() -> None:
    sizes = {path: text.count("\n") for path, text in modules(*LAYERS)}
    long = {path: size for path, size in sizes.items() if size > MAX_FILE_LINES}
    offenders = [f"{path}: {size}" for path, size in long.items() if path not in LONG_FILES]
    refuse(offenders, f"expected files of at most {MAX_FILE_LINES} lines; divide by subject")
    refuse(LONG_FILES.keys() - long.keys(), "exceptions in LONG_FILES that are no longer needed; remove")


def test_subpackages_have_few_modules() -> None:
    counts = {
        str(folder.parent.relative_to(ROOT)): len([*folder.parent.glob("[!_]*.py")])
        for folder in sorted((ROOT / "pipeline").rglob("__init__.py"))
    }
    assert "pipeline/commands" in counts
    offenders = [
        f"{folder}: {count}" for folder, count in counts.items() if count > MAX_MODULES and folder not in MANY_MODULES
    ]
    refuse(offenders, f"expected subpackages of at most {MAX_MODULES} modules; divide")


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_tests_use_public_names_only() -> None:
    used = {path: found for path, text in modules("tests") if (found := private_names(text))}
    offenders = [f"{path}: {', '.join(found)}" for path, found in used.items() if path not in PRIVATE_NAMES]
    refuse(offenders, "test what callers see, or make a real unit public")
    refuse(PRIVATE_NAMES.keys() - used.keys(), "exceptions in PRIVATE_NAMES that are no longer needed; remove")


def test_the_old_words_do_not_come_back() -> None:
    found = [(path, word, number) for path, text in texts() for number, word in old_words(text)]
    offenders = [f"{path}, line {number}: {word}" for path, word, number in found if (path, word) not in ALLOWED_WORDS]
    refuse(offenders, "expected the terms of the table in DECISIONS.md, Names and words")
    unused = ALLOWED_WORDS.keys() - {(path, word) for path, word, _ in found}
    refuse(
        [f"{path}: {word}" for path, word in unused], "exceptions in ALLOWED_WORDS that are no longer needed; remove"
    )


def test_the_version_is_the_same_everywhere() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    released = re.search(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version and released and version[1] == released[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    '''Doc.\n\n    More.\n    '''\n" + "    pass\n" * 49, []),
        ("def f():\n" + "    pass\n" * 50, ["f: 51"]),
        ("class A:\n    async def g(self):\n" + "        pass\n" * 50, ["g: 51"]),
    ],
)
def test_lines_of_functions_are_counted_without_the_docstring(text: str, expected: list[str]) -> None:
    assert long_functions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from a import _b, c", ["_b"]),
        ("a._b()\nself._c\na.__name__", ["_b"]),
        ("patch('pipeline.a._b', 1)\npatch('pipeline.a.b', 1)\n'models/_x'", ["pipeline.a." + "_b"]),
    ],
)
def test_private_names_are_found(text: str, expected: list[str]) -> None:
    assert private_names(text) == expected


def test_old_words_are_found_whole() -> None:
    assert old_words("recommend, besides\nAs told, it Foretells.") == [(2, "told"), (2, "foretells")]
