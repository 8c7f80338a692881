"""Errors that the user can fix, and texts without passwords."""

from __future__ import annotations

import re

SECRETS = r"password|passwd|pwd|secret\w*|token|\w*access_?key\w*|api_?key|signature"


class UserError(ValueError):
    """A mistake the user can fix: the command line prints its message, without a traceback, and exits with 2."""


class ParamsError(UserError):
    """params.yaml or a ``--set`` has a value or key that cannot be used."""


def without_passwords(text: str) -> str:
    """``text`` with passwords replaced: before the @ of an address, and after ``password=`` and similar keys.

    Examples
    --------
    >>> without_passwords("postgresql://ann:pass/w@rd@host/db?sslmode=require&password=x")
    'postgresql://***@host/db?sslmode=require&password=***'
    """
    text = re.sub(r"://[^/@\s:]*:\S*@|://[^/@\s]+@", "://***@", text)
    return re.sub(rf"(?i)({SECRETS})(\s*[=:]\s*)(''[^']*''|'[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)", r"\1\2***", text)
