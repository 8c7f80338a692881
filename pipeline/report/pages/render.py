"""The summary and a language -> one HTML file, without external links and with every text escaped.

Its only script sorts tables, and opens folds for printing where style sheets cannot. MLflow shows the file in a frame
that may run scripts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.lineage import change_text
from pipeline.report.next_steps import audience_command
from pipeline.report.pages import drawings
from pipeline.report.pages.facet_crossing import facet_crossing
from pipeline.report.pages.facet_sections import facet_sections
from pipeline.report.parts.segment import Card, Interest, Segment
from pipeline.report.summary import Summary
from pipeline.report.texts import cards
from pipeline.report.texts.five_w import CardTexts, five_w_texts
from pipeline.report.texts.predictions import predictions
from pipeline.report.texts.rules import rule_text
from pipeline.report.texts.trends import changes_headline, stages_headline
from pipeline.report.texts.wording import wording

TEMPLATES = Path(__file__).parent / "templates"


def render(summary: Summary, language: str) -> str:
    """The report in a language (en, uk, ru, sq)."""
    words = wording(language, summary.currency, summary.method.timezone)
    names = {segment.segment_id: words.name(segment) for segment in summary.segments}
    revenue = summary.revenue

    def five_w(segment: Segment) -> CardTexts:
        return five_w_texts(_new_lines(segment), language, is_standing=segment.is_standing)

    def list_command(*options: str) -> str:
        return audience_command(options, summary.method.params_file)

    def proposed(segment: Segment) -> str | None:
        return segment.all_names.proposal(language)

    return render_template(
        "report.html.j2",
        words=words,
        language=language,
        summary=summary,
        names=names,
        facets=facet_sections(summary, words),
        facet_crossing=facet_crossing(summary, words),
        funnel_shop=drawings.funnel_bars(summary.funnel, words),
        funnel_segments=drawings.funnel_matrix(summary.funnel, names, words),
        tiers=drawings.tier_bars(revenue, words) if revenue else None,
        pareto=drawings.pareto_curve(revenue, words) if revenue else None,
        crossed=[(table, drawings.crossing(table, names, words)) for table in summary.crossings],
        predictions=predictions(summary.quality.validity, words),
        cards=cards,
        rule_text=rule_text,
        change_text=change_text,
        changes_headline=changes_headline,
        stages_headline=stages_headline,
        list_command=list_command,
        five_w=five_w,
        proposed=proposed,
        unnamed_interests=_unnamed_interests,
    )


def _unnamed_interests(segment: Segment) -> list[Interest]:
    """The distinctive interests of a segment, without those in its name."""
    named = {item.figure for item in segment.evidence if item.first_share is not None}
    return [interest for interest in segment.top_categories if f"interest: {interest.label}" not in named]


def _new_lines(segment: Segment) -> Card:
    """The 5W lines of a card; on an interest segment's card, without the categories listed above them."""
    listed = {interest.category for interest in segment.top_categories} if segment.is_by_interest else set()
    return {
        question: [line for line in lines if line.topic != "category" or line.value not in listed]
        for question, lines in segment.five_w.items()
    }


def render_template(template: str, **values: Any) -> str:
    """A template filled in, with the style sheet and the script of the report."""
    style, script = ((TEMPLATES / f"report.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    return _environment().get_template(template).render(style=style, script=script, **values)


@cache
def _environment() -> Environment:
    """The templates; each is compiled once, which takes longer than filling it in."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
