"""The files of ``texts/``: texts by key in each language, held to those of English."""

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
    """Texts by dotted key; a mapping of plural forms where a text has them.

    Raises
    ------
    ValueError
        A key that English has is missing or too many, or a text has other placeholders or plural forms than it should.
    """
    texts, english = (_flat(_load(folder / f"{one}.yaml")) for one in (language, "en"))
    if wrong := sorted(texts.keys() ^ english.keys()):
        raise ValueError(f"texts/{language}.yaml: expected the keys of en.yaml; missing or too many: {wrong[:5]}")
    forms = set(Locale.parse(language).plural_form.tags) | {"other"}
    for key, text in texts.items():
        if isinstance(text, dict) != isinstance(english[key], dict) or (isinstance(text, dict) and set(text) != forms):
            raise ValueError(
                f"texts/{language}.yaml: {key}: expected the plural forms {sorted(forms)} where English has any"
            )
        if any(
            _fields(one) != _fields(_other(english[key]))
            for one in (text.values() if isinstance(text, dict) else [text])
        ):
            raise ValueError(f"texts/{language}.yaml: {key}: expected the placeholders of English")
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
