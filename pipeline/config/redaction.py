"""Texts without secrets: only what is known to be harmless is kept of addresses, assignments and SQL."""

from __future__ import annotations

import re
from typing import Any

from features.events import EventType
from pipeline.config.types import Section

HIDDEN = "***"
SQL_KEYS = frozenset(("query", "sql", "where"))
"""Keys of params.yaml that hold SQL."""
SPARK_CONF = "engine.spark.conf"
"""Settings of Spark may be passwords of storage."""
STRUCTURED_SQL = re.compile(rf"\s*[{{\[].*\b({'|'.join(SQL_KEYS)})\b", re.DOTALL)
HARMLESS_KEYS = frozenset(
    ("connect_timeout", "date", "day", "dt", "hour", "mode", "month", "region", "sslmode", "timeout", "year")
)
"""Keys of addresses and of folders such as year=2025 whose values are kept."""
HARMLESS_LABELS = frozenset(
    (
        *(
            "bindings",
            "column",
            "columns",
            "detail",
            "directory",
            "error",
            "exception",
            "file",
            "function",
            "functions",
        ),
        *("hint", "line", "table"),
    )
)
"""Last words before a colon in messages of databases, after which a sentence goes on."""
USER = re.compile(r"://[^/@\s:]*:\S*@|://[^/@\s]+@")
QUERY_STRING = re.compile(r"(://[^\s'\"?]*\?)([^\s'\"]+)")
ASSIGNMENT = re.compile(r"([\w.-]+)(\s*=\s*)(''[^']*''|'[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)")
PAIR = re.compile(r"\b([A-Za-z_][\w-]+)(:)(?![/%*]|\d{1,5}\b(?![^/\s]))([^\s,;}\]'\"]+)")
CREDENTIAL = re.compile(r"(?i)\b(bearer|basic|digest|negotiate)(\s+)([^\s'\",;]+)")
LABELLED = re.compile(r"\b([\w-]+)(:\s+)(\S+)")
SQL_PARTS = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*(?:\*/|\Z))"
    r"|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
    r"|\b[eE]'(?:\\.|''|[^'\\])*(?:'|\Z)"
    r"|'(?P<text>(?:[^']|'')*)(?:'|\Z)"
    r"|(?P<name>\"(?:[^\"]|\"\")*(?:\"|\Z))",
    re.DOTALL,
)
HARMLESS_TEXT = re.compile(
    r"[\w ./*?\[\]~-]+\.(?:parquet|pq|csv|tsv|jsonl?|ndjson|xls[xmb]?|ods|gz|zst|zip|txt|db|duckdb)"
    r"|\d{4}-\d\d-\d\d(?:[T ][\d:.+Z-]*)?|(?:%[A-Za-z]|[-/:. T])+|\W{0,3}"
    rf"|{'|'.join(EventType)}|minute|hour|day|week|month|quarter|year|UTC"
)
"""Literals of SQL that are kept: files, dates and their forms, signs between columns, and Kindred's own words."""


def redact_text(text: str) -> str:
    """A path, an address or another setting without passwords, keys and tokens.

    Examples
    --------
    >>> redact_text("postgresql://ann:pass/w@rd@host/db?sslmode=require&sig=x")
    'postgresql://***@host/db?sslmode=require&sig=***'
    """
    text = USER.sub(f"://{HIDDEN}@", text)
    text = QUERY_STRING.sub(lambda found: found[1] + _redact_items(found[2]), text)
    for pattern in (CREDENTIAL, ASSIGNMENT, PAIR):
        text = pattern.sub(lambda found: found[0] if found[1].lower() in HARMLESS_KEYS else _hide(found), text)
    return text


def redact_setting(override: str) -> str:
    """``section.key=value`` without secrets in the value."""
    key, equals, value = override.partition("=")
    if key.startswith(SPARK_CONF) or SPARK_CONF.startswith(f"{key}.") or STRUCTURED_SQL.match(value):
        return f"{key}={HIDDEN}"
    return key + equals + (redact_sql(value) if key.rpartition(".")[2] in SQL_KEYS else redact_text(value))


def redact_values(value: Any, *, key: str = "") -> Any:
    """A section of the parameters, or a value in it at ``key``, with all its texts redacted."""
    if isinstance(value, Section):
        fields = {name: redact_values(getattr(value, name), key=name) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, dict):
        return {name: redact_values(each, key=name) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact_values(each, key=key) for each in value)
    if type(value) is not str:
        return value
    return redact_sql(value) if key in SQL_KEYS else redact_text(value)


def redact_message(text: str) -> str:
    """The message of a library or database; also what follows a colon is hidden unless the sentence goes on there."""

    def kept_label(found: re.Match[str]) -> str:
        is_code = found[1].isdigit() or re.fullmatch("[A-Z]+(_[A-Z]+)+", found[1])
        return found[0] if is_code or found[1].lower() in HARMLESS_LABELS else _hide(found)

    return LABELLED.sub(kept_label, redact_text(text))


def redact_sql(query: str) -> str:
    """SQL without comments, and with those literals only that cannot be a secret."""
    return SQL_PARTS.sub(_redact_part, query).strip()


def _redact_part(found: re.Match[str]) -> str:
    if found["comment"] is not None:
        return " "
    if found["name"] is not None:
        return redact_text(found["name"])
    text = found["text"]
    if text is not None and HARMLESS_TEXT.fullmatch(text):
        return found[0]
    return f"'{redact_text(text) if text is not None and '://' in text else HIDDEN}'"


def _redact_items(items: str) -> str:
    """Parts of an address after the question mark; those without a name are hidden."""
    return re.sub(r"[^&;]+", lambda item: item[0] if "=" in item[0] else HIDDEN, items)


def _hide(found: re.Match[str]) -> str:
    return found[1] + found[2] + HIDDEN
