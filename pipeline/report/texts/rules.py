"""The rules of segments as phrases and sentences."""

from __future__ import annotations

from features.context import CHANNEL_PREFIX
from features.interests import SHARE_PREFIX
from pipeline.report.parts.segment import Condition, Rule, StageRule, UnknownInterestsRule, UnusualRule
from pipeline.report.texts.wording import Wording

BOUNDS = {
    "days_since_last_purchase": "bought",
    "days_since_last_event": "seen",
    "days_from_first_to_last_event": "span",
    "spend": "spend",
}
"""Column of a rule -> the key of its phrase, without ``_above`` or ``_below``."""


def rule_text(rule: Rule | None, words: Wording) -> str:
    """A segment's rule as sentences, with its coverage and precision."""
    if rule is None:
        return words("rule.none")
    conditions = conditions_text(rule, words)
    conditions = conditions[0].upper() + conditions[1:]
    if rule.precision == rule.coverage == 1:
        return words("rule.exact", rule=conditions)
    precision, coverage = (words.number(share, "share") for share in (rule.precision, rule.coverage))
    return words("rule.holds", rule=conditions, precision=precision, coverage=coverage)


def conditions_text(rule: Rule, words: Wording) -> str:
    """The conditions of a rule, in one phrase."""
    if isinstance(rule, UnknownInterestsRule):
        return words("rule.unknown", events=words("count.event", count=rule.min_events))
    if isinstance(rule, UnusualRule):
        return words("rule.unusual")
    if isinstance(rule, StageRule):
        key = "rule.rule_based_noise" if rule.with_noise else "rule.rule_based"
        least = words.least(rule.min_events, rule.min_orders)
        return words(key, events=least, stage=words(f"stage.{rule.stage}"))
    return words("rule.and").join(_condition(condition, words) for condition in rule.conditions)


def _condition(condition: Condition, words: Wording) -> str:
    column, bound, is_above = condition.column, condition.bound, condition.is_above
    side = "above" if is_above else "below"
    if column in BOUNDS:
        return words(f"rule.{BOUNDS[column]}_{side}", bound=words.number(bound, "money"), count=bound)
    if column.endswith("_count"):
        return _count(column.removesuffix("_count"), bound + is_above, words, is_above=is_above)
    form = "share" if condition.is_share else "number"
    if column.startswith(SHARE_PREFIX):
        what = words("rule.interest", name=words.category(condition.label))
    elif column.startswith(CHANNEL_PREFIX):
        what = words("rule.channel", name=column.removeprefix(CHANNEL_PREFIX))
    elif f"rule.{column}" in words.texts:
        what = words(f"rule.{column}")
    else:
        what = words(f"rule.other_{form}", name=column.replace("_", " "))
    bound_text = words.number(bound, "share") if form == "share" else words.places(bound)
    return words(f"rule.{form}_{side}", bound=bound_text, what=what)


def _count(kind: str, count: float, words: Wording, *, is_above: bool) -> str:
    if not count and f"without.{kind}" in words.texts:
        return words(f"without.{kind}")
    known = f"count.{kind}" in words.texts
    what = words(f"count.{kind}", count=count) if known else words("count.other", count=count, name=kind)
    return words("rule.at_least" if is_above else "rule.at_most", what=what)
