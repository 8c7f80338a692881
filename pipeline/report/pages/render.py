"""The summary and a language -> one HTML file: no script, no outside address, everything escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.pages import drawings
from pipeline.report.pages.facet_sections import facet_crossing, facet_sections
from pipeline.report.texts.five_w import five_w_texts
from pipeline.report.texts.wording import is_by_interest, proposed_name, wording

TEMPLATES = Path(__file__).parent / "templates"


def render(summary: dict[str, Any], language: str) -> str:
    """The report of `pipeline.report.summarise.summarise` in a language (en, uk, ru, sq)."""
    words = wording(language, summary.get("currency"), summary["method"].get("timezone", "UTC"))
    segments = summary["segments"]
    revenue = summary["revenue"]
    names = {one["segment_id"]: words.name(one) for one in segments}
    # As in trainings that did not take returns off.
    summary = {"spend_is": "before", **summary, "totals": {"paid": 0.0, **summary["totals"]}}
    return render_template(
        "report.html.j2",
        words=words,
        language=language,
        names=names,
        facet_crossing=facet_crossing(summary, words),
        funnel_shop=drawings.funnel_bars(summary["funnel"], words),
        funnel_segments=drawings.funnel_matrix(summary["funnel"], names, words),
        tiers=drawings.tier_bars(revenue, words) if revenue else None,
        pareto=drawings.pareto_curve(revenue, words) if revenue else None,
        unnamed=_unnamed,
        proposed=lambda one: proposed_name(one, language),
        foretold=words.foretold(summary["quality"].get("validity")),
        five_w=lambda one: five_w_texts(_not_said_yet(one), language, is_standing=one["is_standing"]),
        crossed=[drawings.crossing(one, names, words) for one in summary["crossings"]],
        **{key: value for key, value in summary.items() if key not in ("language", "crossings", "facets")},
        facets=facet_sections(summary, words),
    )


def _unnamed(segment: dict[str, Any]) -> list[dict[str, Any]]:
    """The distinctive interests of a segment but for those that it is named by."""
    named = {one["figure"] for one in segment["evidence"] if "first_share" in one}
    return [one for one in segment["top_categories"] if f"interest: {one['label']}" not in named]


def _not_said_yet(segment: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The lines of a card, in one of interests without the categories that it has named already."""
    said = {one.get("category") for one in segment["top_categories"]} if is_by_interest(segment) else set()
    return {
        question: [one for one in lines if one["topic"] != "category" or one["value"] not in said]
        for question, lines in segment.get("five_w", {}).items()
    }


def render_template(template: str, **values: Any) -> str:
    """A template of ours with the style of the report; a comparison of runs has its own."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **values)
