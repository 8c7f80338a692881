"""The summary and a language -> one HTML file, without scripts or external links, and with every text escaped."""

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
    names = {segment["segment_id"]: words.name(segment) for segment in segments}
    # Summaries of earlier versions, whose revenue is before returns, lack these keys.
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
        unnamed_interests=_unnamed_interests,
        proposed=lambda segment: proposed_name(segment, language),
        predictions=words.predictions(summary["quality"].get("validity")),
        five_w=lambda segment: five_w_texts(_new_lines(segment), language, is_standing=segment["is_standing"]),
        crossed=[drawings.crossing(table, names, words) for table in summary["crossings"]],
        **{key: value for key, value in summary.items() if key not in ("language", "crossings", "facets")},
        facets=facet_sections(summary, words),
    )


def _unnamed_interests(segment: dict[str, Any]) -> list[dict[str, Any]]:
    """The distinctive interests of a segment, without those in its name."""
    named = {item["figure"] for item in segment["evidence"] if "first_share" in item}
    return [interest for interest in segment["top_categories"] if f"interest: {interest['label']}" not in named]


def _new_lines(segment: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The 5W lines of a card; on an interest segment's card, without the categories listed above them."""
    listed = {item.get("category") for item in segment["top_categories"]} if is_by_interest(segment) else set()
    return {
        question: [line for line in lines if line["topic"] != "category" or line["value"] not in listed]
        for question, lines in segment.get("five_w", {}).items()
    }


def render_template(template: str, **values: Any) -> str:
    """A template filled in, with the style sheet of the report."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **values)
