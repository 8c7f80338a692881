"""Files of an audience for email and advertising tools, by the templates in templates.yaml."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import yaml
from pydantic import Field

from pipeline.audiences.build import SEND
from pipeline.audiences.selection import AudienceError
from pipeline.config.types import Section

TEMPLATES = Path(__file__).parent / "templates.yaml"
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 8, 15
"""Of an international number (ITU-T E.164)."""
TagField = Literal["tags", "attributes"]
ExportField = Literal[
    "email", "phone", "audience", "segment", "interest_segment", "email_sha256", "phone_sha256", TagField
]


class Template(Section):
    """The file that a tool imports."""

    key: Literal["email", "phone"]
    columns: Annotated[dict[str, ExportField], Field(min_length=1)]
    tag_separator: str = ","
    phone_form: Literal["e164", "digits"] = "e164"


@dataclass(frozen=True)
class Export:
    """Rows for a tool.

    Attributes
    ----------
    table : DataFrame
        The tool's columns; texts.
    without_address_count : int
        Customers to send to who have no address that can be used.
    shared_address_count : int
        Customers left out because an earlier customer has the same address.
    """

    table: pd.DataFrame
    without_address_count: int
    shared_address_count: int


@cache
def templates() -> dict[str, Template]:
    """Tool -> its template."""
    return {
        name: Template.model_validate(values)
        for name, values in yaml.safe_load(TEMPLATES.read_text(encoding="utf-8")).items()
    }


def require_tool(tool: str) -> None:
    """Refuse a tool without a template.

    Raises
    ------
    AudienceError
        Names those that there are.
    """
    if tool not in templates():
        raise AudienceError(f"--for {tool}: expected one of {', '.join(templates())}.")


def export(audience: pd.DataFrame, contacts: pd.DataFrame, *, name: str, tool: str) -> Export:
    """The customers to send to, in the audience's order, as ``tool`` imports them.

    Parameters
    ----------
    audience : DataFrame
        `pipeline.audiences.build.Audience.table`; the control group is left out.
    contacts : DataFrame
        customer_id (unique), email, phone.
    name : str
        Of the audience.

    Raises
    ------
    AudienceError
        There is no template for ``tool``.
    """
    require_tool(tool)
    template = templates()[tool]
    rows = audience[audience["group"] == SEND].merge(contacts, on="customer_id", how="left", validate="one_to_one")
    rows["email"], rows["phone"] = rows["email"].map(_email), rows["phone"].map(_phone)
    reachable = rows[rows[template.key].notna()]
    written = reachable.drop_duplicates(template.key)
    fields = _fields(written, name, template)
    table = pd.DataFrame({column: fields[field] for column, field in template.columns.items()}, dtype=str)
    return Export(table.reset_index(drop=True), len(rows) - len(reachable), len(reachable) - len(written))


def _fields(rows: pd.DataFrame, name: str, template: Template) -> dict[str, list[str]]:
    """Our field -> its text in each row; empty where not known."""

    def texts(column: str) -> list[str]:
        return ["" if pd.isna(value) else str(value) for value in rows.get(column, [None] * len(rows))]

    segments, interests = texts("segment"), texts("interest_segment")
    facets = list(zip(segments, interests, strict=True))
    phones = [text if template.phone_form == "e164" else text.removeprefix("+") for text in texts("phone")]
    return {
        "email": texts("email"),
        "phone": phones,
        "audience": [name] * len(rows),
        "segment": segments,
        "interest_segment": interests,
        "tags": [_tags((name, *pair), template.tag_separator) for pair in facets],
        "attributes": [
            json.dumps({"audience": name, "segment": segment, "interest_segment": interest}, ensure_ascii=False)
            for segment, interest in facets
        ],
        "email_sha256": [_sha256(text) for text in texts("email")],
        "phone_sha256": [_sha256(text) for text in phones],
    }


def _tags(names: tuple[str, ...], separator: str) -> str:
    """Names joined by the separator, which becomes a space in a name that has it itself."""
    return separator.join(" ".join(name.replace(separator, " ").split()) for name in names if name)


def _email(text: object) -> str | None:
    """An address trimmed and in lower case; None if it cannot be one.

    One that begins as a formula does is none either: defused, it would be another address.
    """
    address = str(text).strip().lower() if isinstance(text, str) else ""
    return address if re.fullmatch(r"[^@\s,;<>\"=+\-][^@\s,;<>\"]*@[^@\s,;<>\"]+\.[^@\s,;<>\"]+", address) else None


def _phone(text: object) -> str | None:
    """An international number with its plus sign; None without a country code, which Kindred does not guess."""
    compact = re.sub(r"[\s()./\-]", "", text) if isinstance(text, str) else ""
    compact = re.sub(r"^00", "+", compact)
    digits = compact.removeprefix("+")
    is_number = compact.startswith("+") and digits.isdecimal() and digits.isascii()
    return compact if is_number and MIN_PHONE_DIGITS <= len(digits) <= MAX_PHONE_DIGITS else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
