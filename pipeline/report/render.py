"""The summary -> one HTML file: no script, no outside address, everything escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def render(summary: dict[str, Any], template: str = "report.html.j2") -> str:
    """The report of `summarise` as HTML, or with its own template a comparison of runs."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **summary)
