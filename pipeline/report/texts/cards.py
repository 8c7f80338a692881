"""The phrases on the card of a segment: the evidence for its name, its interests, stability and retention."""

from __future__ import annotations

from collections.abc import Sequence

from features.interests import SHARE_PREFIX
from features.journey import PASSING_STAGES
from models.identity import RULE_GROUP_PREFIX
from pipeline.report.parts.segment import Evidence, Interest, Retention, Segment
from pipeline.report.texts.formats import form_of
from pipeline.report.texts.wording import Wording

ALL_RETAINED = 0.995
"""At this share or above, the card does not say that customers pass through the stage: it would contradict itself."""


def evidence_texts(evidence: Sequence[Evidence], words: Wording, *, is_outside: bool = False) -> list[str]:
    """The figures behind the name of a segment, without those that look the same as the overall figure.

    ``is_outside``: the segment is not part of the customers it is compared with, those clustered by behaviour.
    """
    if evidence and evidence[0].first_share is not None:
        return [_interest_evidence(item, words) for item in evidence]
    others = words("all_by_behaviour" if is_outside else "all_segmented")
    return [line for item in evidence if (line := _evidence(item, others, words))]


def _evidence(item: Evidence, others: str, words: Wording) -> str:
    """A figure and those it is compared with; empty if it looks the same as the overall figure."""
    label, form = words.figure(item.figure), form_of(item.figure)
    if item.figure.startswith(SHARE_PREFIX):
        category = words.category(item.figure.removeprefix(SHARE_PREFIX))
        label, form = words("cards.evidence_interest", name=category), "share"
    value, shop = words.number(item.value, form), words.number(item.shop, form)
    # A figure may be compared with a similar segment without a known value.
    has_peer = "nearest_peer" in item.model_fields_set
    if value == shop and not has_peer:
        return ""
    texts = {"label": label, "value": value, "shop": shop, "others": others}
    if has_peer:
        line = words("cards.evidence_similar", similar=words.number(item.nearest_peer, form), **texts)
    else:
        line = words("cards.evidence", **texts)
    if "held_share" not in item.model_fields_set:
        return line
    return words("cards.evidence_condition", evidence=line, share=words.number(item.held_share, "share"))


def _interest_evidence(item: Evidence, words: Wording) -> str:
    """A category that an interest segment is named by."""
    share, shop, first = (words.number(value, "share") for value in (item.value, item.shop, item.first_share))
    name = words.category(item.figure.removeprefix(SHARE_PREFIX))
    return words("facets.evidence", name=name, share=share, shop=shop, first=first)


def interest_text(interest: Interest, words: Wording) -> str:
    """A distinctive interest."""
    return words(
        "cards.interest",
        label=words.category(interest.label),
        share=words.number(interest.share, "share"),
        lift=words.times(interest.lift),
        low=words.times(interest.lift_low),
        customers=words("customers", count=interest.customer_count),
    )


def stability_text(segment: Segment, words: Wording) -> str:
    """How reliably re-clustering recovers a segment; empty if not measured."""
    if segment.stability is None:
        return ""
    word = words(f"stability.{segment.stability_word}")
    text = words("cards.stability", word=word, share=words.number(segment.stability, "share"))
    return text if segment.is_stable else f"{text} {words('cards.no_campaign')}"


def retention_text(segment_id: str, retention: Retention | None, words: Wording) -> str:
    """The share of earlier members who are still in the segment; empty if unknown, or if nobody left a stage."""
    if retention is None or retention.share is None:
        return ""
    is_passing = segment_id.removeprefix(RULE_GROUP_PREFIX) in PASSING_STAGES
    if is_passing and retention.share >= ALL_RETAINED:
        return ""
    days, share = words("days", count=retention.days), words.number(retention.share, "share")
    text = words("cards.retention_passing" if is_passing else "cards.retention", days=days, share=share)
    return f"{text} {words('cards.retention_sample')}" if retention.is_sample else text
