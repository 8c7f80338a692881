"""The files of ``texts/``: texts by key in each language, checked against the English ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import yaml
from babel import Locale

TEXTS = Path(__file__).parent
PLURALS = {"zero", "one", "two", "few", "many", "other"}
Text = str | dict[str, str]


def read_texts(language: str, folder: Path = TEXTS) -> dict[str, Text]:
    """Texts by dotted key; a mapping of plural forms for a text that has them.

    Raises
    ------
    ValueError
        The keys differ from those of English, or a text has the wrong placeholders or plural forms.
    """
    texts, english = (_flat(_load(folder / f"{name}.yaml")) for name in (language, "en"))
    if wrong := sorted(texts.keys() ^ english.keys()):
        raise ValueError(
            f"texts/{language}.yaml: expected the keys of en.yaml; missing or unexpected: {wrong[:5]}. Fix them."
        )
    forms = set(Locale.parse(language).plural_form.tags) | {"other"}
    for key, text in texts.items():
        if isinstance(text, dict) != isinstance(english[key], dict) or (isinstance(text, dict) and set(text) != forms):
            raise ValueError(
                f"texts/{language}.yaml: {key}: expected the plural forms {sorted(forms)} if English has plural forms"
            )
        if any(
            _fields(form) != _fields(_other(english[key]))
            for form in (text.values() if isinstance(text, dict) else [text])
        ):
            raise ValueError(f"texts/{language}.yaml: {key}: expected the placeholders of the English text")
    return texts


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Text]:
    flat: dict[str, Text] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value.keys() <= PLURALS:
            flat[name] = value
        elif isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        elif isinstance(value, list):
            flat |= {f"{name}.term": value[0], f"{name}.meaning": value[1]}
        else:
            flat[name] = str(value)
    return flat


def _other(text: Text) -> str:
    return text["other"] if isinstance(text, dict) else text


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(text) if field}
