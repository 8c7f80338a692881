"""Errors that the user can fix."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake the user can fix: the command line prints its message, without a traceback, and exits with 2."""


class ParamsError(UserError):
    """params.yaml or a ``--set`` has a value or key that cannot be used."""
