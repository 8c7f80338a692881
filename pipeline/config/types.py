"""Types that sections of params.yaml share."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Language = Literal["en", "uk", "ru", "sq"]
MAX_NUMBER = 1e12
"""Of settings without a bound of their own: no times or integers overflow."""
Positive = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
NonNegative = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
MAX_WEIGHT = 1e6
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Section(BaseModel):
    """A group of parameters: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _not_above_max_weight(value: float) -> float:
    if value > MAX_WEIGHT:
        raise ValueError(
            f"expected at most {MAX_WEIGHT:,.0f} times a weight of 1, as other events would no longer count"
        )
    return value


Weight = Annotated[float, Field(ge=0), AfterValidator(_not_above_max_weight)]


@cache  # the list of all zones is read from hundreds of folders and files each time
def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("expected a time zone such as UTC or Europe/Kyiv")
    return str(ZoneInfo(value))


Timezone = Annotated[str, AfterValidator(_known_zone)]


def _names_a_variable(value: str) -> str:
    if not re.fullmatch(r"\$[A-Za-z_]\w*", value):
        raise ValueError(
            "expected the name of an environment variable, such as $SHOP_DATABASE, as params files are shared and kept "
            "with each run. Put the address into the variable: "
            "export SHOP_DATABASE=postgresql://user:password@host/database"
        )
    return value


def _is_no_address(value: str) -> str:
    if "://" in value:
        raise ValueError("expected a path on this machine, not an address")
    return value


LocalPath = Annotated[str, AfterValidator(_is_no_address)]
"""Where results are written. An address would become folders of that name."""


def output_path(path: Path) -> Path:
    """An absolute path to write to. Without a suffix it is a link to a folder of files, and is not followed."""
    return path.resolve() if path.suffix else path.parent.resolve() / path.name


DatabaseVariable = Annotated[str, AfterValidator(_names_a_variable)]
"""The address of a database: only the name of the environment variable that holds it."""


def is_one_line(text: str) -> bool:
    """Whether a text has only printable characters and spaces, such as no-break spaces: no line breaks or controls."""
    return all(char.isprintable() or unicodedata.category(char) == "Zs" for char in text)


def _one_line(value: str) -> str:
    line = value.strip()  # YAML ends a folded text with a line break
    if not line or not is_one_line(line):  # a line break would begin a line of its own on the terminal
        raise ValueError("expected one line of printable characters, without line breaks or control characters")
    return line


OneLine = Annotated[str, AfterValidator(_one_line)]


class Text(Section):
    """One text in every language."""

    en: OneLine
    uk: OneLine
    ru: OneLine
    sq: OneLine
