"""The summary of a run -> the tables of its workbook, in the language of the run."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.lineage import LineageRecord
from pipeline.report.pages.facet_table import facet_table
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary
from pipeline.report.texts.formats import form_of
from pipeline.report.texts.rules import conditions_text
from pipeline.report.texts.wording import wording
from pipeline.report.workbook.table import Cell, Sheet, translated, translator
from pipeline.report.workbook.training_sheets import data_quality_sheet, lineage_sheet, quality_sheet

SIZES = ("customer_count", "customer_share", "spend_share")
"""Shown on the sheet of segments; comparing them with all customers adds nothing."""


def sheets(summary: Summary, lineage: Sequence[LineageRecord]) -> list[Sheet]:
    """All tables of a run; the first describes the others."""
    tables = [
        _segments(summary),
        _figures(summary),
        *([_interests(summary)] if summary.interests else []),
        *_crossing(summary),
        lineage_sheet(summary, lineage),
        quality_sheet(summary),
        data_quality_sheet(summary),
        _playbook(summary),
    ]
    translate = translator(summary.language)
    words = wording(summary.language, timezone=summary.method.timezone)
    about = translate(
        "Customer segments of run {run}, as of {as_of}. Customers: {customers}. The workbook contains no customer IDs. "
        "For groups smaller than naming.min_group (params.yaml), only the size is shown. "
        "All figures are rounded."
    ).format(
        run=summary.run_id,
        as_of=words.moment(summary.as_of),
        customers=words.whole(summary.customer_count),
    )
    listed: list[tuple[Cell, ...]] = [
        (translate(table.name), len(table.rows), translate(table.about)) for table in tables
    ]
    columns = {"Sheet": "text", "Rows": "count", "Description": "text"}
    first = Sheet("README", about, columns, [(translate("README"), None, about), *listed])
    return [translated(table, translate) for table in (first, *tables)]


def _segments(summary: Summary) -> Sheet:
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Facet": "text"},
        **{"Archetype (key)": "text", "Grouped by rule": "flag"},
        **{"Customers": "count", "Share of all customers": "share", "Share of revenue": "share"},
        **{"Paid for orders": "money", "Refunds": "money"},
        **{"Stability": "share", "Stable": "flag"},
        **({"Distinctive interests": "text"} if summary.interests else {}),
        **{"Rule of thumb": "text", "Rule: precision": "share", "Rule: coverage": "share"},
    }
    rows: list[tuple[Cell, ...]] = []
    words = wording(summary.language, summary.currency)
    for segment in summary.segments:
        size = (segment.customer_count, segment.customer_share)
        identity = (segment.segment_id, segment.name, words.facet(segment.facet))
        if segment.is_small:
            rows.append((*identity, None, segment.is_standing, *size, *[None] * (len(columns) - 7)))
            continue
        rule = segment.rule
        is_stable = segment.is_stable if segment.stability is not None else None
        stability = (segment.stability, is_stable)
        conditions = (conditions_text(rule, words), rule.precision, rule.coverage) if rule else (None, None, None)
        kind = (segment.archetype, segment.is_standing)
        revenue = (segment.spend_share, *_paid_and_refunded(segment))
        interests = (words.categories(segment),) if summary.interests else ()
        rows.append((*identity, *kind, *size, *revenue, *stability, *interests, *conditions))
    about = (
        "The segments in order of value, with their size, their stability and a short rule that describes them. "
        "Revenue is what was paid for orders, minus refunds."
    )
    return Sheet("Segments", about, columns, rows, frozen=2)


def _paid_and_refunded(segment: Segment) -> tuple[float | None, float | None]:
    """What its customers paid and what was refunded; None where hidden for privacy or too rough."""
    figures = segment.figures
    if segment.spend_share is None or not {"paid_per_customer", "spend_per_customer"} <= figures.keys():
        return None, None
    paid = figures["paid_per_customer"] * segment.customer_count
    return paid, paid - figures["spend_per_customer"] * segment.customer_count


def _figures(summary: Summary) -> Sheet:
    words = wording(summary.language)
    rows: list[tuple[Cell, ...]] = []
    shop_figures = {facet.name: facet.shop for facet in summary.facets}
    for segment in summary.segments:
        if segment.is_small:
            continue
        overall = shop_figures[segment.facet]
        for name, value in segment.figures.items():
            # A shop without searches has no figures about searches.
            if name not in SIZES and (shop := overall.get(name)):
                form = form_of(name)
                figure = (words.figure(name), (value, form), (shop, form), value / shop, name)
                rows.append((segment.segment_id, segment.name, *figure))
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Figure": "text"},
        **{
            "This segment": "number",
            "All segmented customers": "number",
            "Ratio": "times",
            "Key in params.yaml": "text",
        },
    }
    about = "Each figure of each segment, compared with all customers segmented in the same facet."
    return Sheet("Figures", about, columns, rows, frozen=2)


def _interests(summary: Summary) -> Sheet:
    shown = [segment for segment in summary.segments if not segment.is_small and not segment.is_standing]
    words = wording(summary.language)
    rows: list[tuple[Cell, ...]] = [
        (words.category(interest.category), *(interest.lifts.get(segment.segment_id) for segment in shown))
        for interest in summary.interests
    ]
    about = (
        "How strong the interest of each segment in each category is, as a multiple of the average over the same "
        "period. Empty: no reliable difference, or too few customers."
    )
    titles = dict.fromkeys(f"{segment.name} ({segment.segment_id})" for segment in shown)
    return Sheet("Interests", about, {"Category": "text", **dict.fromkeys(titles, "times")}, rows, is_heat_map=True)


def _crossing(summary: Summary) -> list[Sheet]:
    """Customers in each pair of segments of two facets, one row per pair; no sheet if there is one facet."""
    table = facet_table(summary)
    if table is None:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            *(column.segment_id, column.name, row.segment_id, row.name),
            *(cell.count, cell.spend_share, cell.lift, None if cell.lift is None else cell.is_significant),
        )
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
    ]
    columns = {
        **{"Segment ID": "text", "Segment": "text", "Interest segment ID": "text", "Interest segment": "text"},
        **{
            "Customers": "count",
            "Share of revenue": "share",
            "Compared with chance": "times",
            "Statistically significant": "flag",
        },
    }
    about = (
        "How many customers are in both segments, compared with chance: 1 is the number expected if behaviour and "
        "interests were independent. Empty: hidden, because the group is too small or a hidden "
        "one could be worked out from it."
    )
    return [Sheet("Behaviour and interests", about, columns, rows, frozen=2)]


def _playbook(summary: Summary) -> Sheet:
    language = summary.language
    rows: list[tuple[Cell, ...]] = [
        (
            *(segment.segment_id, segment.name, segment.customer_count),
            *(texts.get(language) or None for texts in (segment.playbook, segment.avoid)),
        )
        for segment in summary.segments
        if segment.is_stable and not segment.is_small
    ]
    columns = {
        "Segment ID": "text",
        "Segment": "text",
        "Customers": "count",
        "What to do": "text",
        "What to avoid": "text",
    }
    about = "What to do with each segment and what to avoid. Unstable segments and small groups are not listed."
    return Sheet("Playbook", about, columns, rows, frozen=2)
