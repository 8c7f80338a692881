"""`kindred effect`: what an audience's campaign brought, whom to send it next time and whom not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from models.campaign_effect import CampaignEffect, GroupEffect, Outcome
from models.effect_estimates import Effect
from pipeline.audiences.effect import FACETS, MeasuredEffect, keep_effect, measure_effect
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import StoredAudience, stored_audiences
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.report.terminal import align_columns, counted
from pipeline.stores.workspace import workspace

HEADERS: dict[Outcome, list[str]] = {
    "buyers": ["Treated", "Held out", "Bought", "of held out", "Difference", "95% interval", "Spend", "Verdict"],
    "spend": ["Treated", "Held out", "Spent each", "held out", "Difference", "95% interval", "Buyers", "Verdict"],
}
REASONS: dict[str | None, str] = {
    "too few others": "too few without a purchase",
    "protected": "hidden: it would show a small group",
}
"""Reasons of `models.campaign_effect.Missing` that need other words."""
VERDICTS = {
    ("buyers", "send"): "The campaign made customers buy who would not have bought.",
    ("buyers", "do not send"): "The campaign kept customers from buying.",
    ("spend", "send"): "The campaign made customers spend more.",
    ("spend", "do not send"): "The campaign made customers spend less.",
}
LESS: dict[Outcome, str] = {"buyers": "bought less", "spend": "spent less"}


def effect(
    params: Params, name: str, *, until: datetime, as_of: datetime | None = None, decide_by: Outcome = "buyers"
) -> str:
    """The effect of the audience ``name`` on purchases from its date to ``until``, in sentences and tables.

    It is kept next to the audience, for the page.

    Parameters
    ----------
    as_of : datetime, optional
        Date of the audience; the last one before ``until`` if left out.
    decide_by : {"buyers", "spend"}
        The outcome that verdicts are about.

    Raises
    ------
    UserError
        The audience was not kept, has no control group, or the log does not cover the time.
    """
    audience = _stored(params, name, until=until, as_of=as_of)
    since = audience.as_of.astimezone(UTC).replace(tzinfo=None)
    with workspace(params) as session:
        at_the_end = params.model_copy(update={"as_of": until})
        source = read_source(session.con, at_the_end, rejected_path=None, since=since)
        if not source.summary.read_count:
            raise AudienceError(
                f"--until {until:%Y-%m-%d}: expected events from {audience.as_of:%Y-%m-%d} on, found none in the log. "
                "Add the days after the campaign to source.events."
            )
        measured = measure_effect(
            session.con,
            source.events,
            audience,
            until=until,
            decide_by=decide_by,
            min_group=params.naming.min_group,
        )
        sentences = effect_sentences(measured, silence_days=params.minimum.usual_silence_days, currency=params.currency)
        keep_effect(audience, measured, sentences)
    return as_text(measured, sentences, currency=params.currency)


def _stored(params: Params, name: str, *, until: datetime, as_of: datetime | None) -> StoredAudience:
    outputs = params.path(params.outputs.folder)
    kept = [*stored_audiences(outputs, name)]
    if not kept:
        known = ", ".join(dict.fromkeys(audience.name for audience in stored_audiences(outputs))) or "none yet"
        raise AudienceError(
            f"{name}: expected an audience that `kindred audience` wrote ({known}); there is none of this name."
        )
    found = [audience for audience in kept if audience.as_of < until and as_of in (None, audience.as_of)]
    if not found:
        dates = ", ".join(f"{audience.as_of:%Y-%m-%dT%H:%M:%SZ}" for audience in kept)
        raise AudienceError(f"{name}: expected an audience from before {until:%Y-%m-%d}; it was written for {dates}.")
    if not found[-1].holdout_share:
        raise AudienceError(
            f"{name}: expected an audience with a control group; in that of {found[-1].as_of:%Y-%m-%d} nobody was held "
            "out, so that nothing shows what customers would have bought anyway. Next time: --holdout 0.1."
        )
    return found[-1]


def as_text(measured: MeasuredEffect, sentences: Sequence[str], *, currency: str | None) -> str:
    """The sentences, whom to send next time, and a table for each facet."""
    lines, by = [*sentences], measured.decided_by
    for column, by_segment in measured.by_facet.items():
        lines += [
            "",
            _advice(by_segment, FACETS[column], by),
            "",
            *_table(by_segment, FACETS[column], by, _unit(currency)),
        ]
    return "\n".join(lines)


def effect_sentences(measured: MeasuredEffect, *, silence_days: float, currency: str | None) -> list[str]:
    """The effect on all customers, and warnings."""
    overall, split = measured.overall.overall, measured.overall.split
    lines = [
        f"{measured.audience}, {measured.as_of:%Y-%m-%d} to {measured.until:%Y-%m-%d}: {overall.treated_count:,} "
        f"treated, {overall.held_out_count:,} held out",
        *_outcomes(measured.overall, measured.decided_by, _unit(currency)),
    ]
    silence = measured.until - measured.last_event_at
    if silence > timedelta(days=silence_days):
        lines.append(
            f"Warning: the log ends on {measured.last_event_at:%Y-%m-%d}, so purchases of the last "
            f"{counted(silence.days, 'day')} are missing."
        )
    if split.is_mismatch:
        share = overall.held_out_count / max(overall.held_out_count + overall.treated_count, 1)
        lines.append(
            f"Warning: {share:.1%} of customers were held out, {split.planned_share:.1%} were planned: customers are "
            "missing from one group, so no verdict is given."
        )
    return lines


def _outcomes(measured: CampaignEffect, by: Outcome, unit: str) -> list[str]:
    """A sentence for each outcome; the one that decides has the verdict."""
    overall, reason = measured.overall, REASONS.get(measured.overall.missing, measured.overall.missing)
    decisive = overall.effect(by)
    if overall.buyers is None or decisive is None:
        return [f"The effect is not shown: {reason or 'nobody bought'}."]
    verdict = VERDICTS.get((by, overall.verdict), "This may be chance: no effect is shown.")
    adjusted = "adjusted for what was known before, " if measured.covariate_columns else ""
    sentences = {"buyers": _on_buyers(overall.buyers, adjusted)}
    if overall.spend is not None:
        sentences["spend"] = _on_spend(overall.spend, adjusted, unit, overall.treated_count)
    lines = [f"{sentences.pop(by)} {verdict}", *sentences.values()]
    if decisive.variance_reduction > 0.005:
        lines.append(
            f"What was known of customers before takes {decisive.variance_reduction:.0%} of the variance out of this."
        )
    return lines


def _on_buyers(buyers: Effect, adjusted: str) -> str:
    interval = f"95% interval {_points(buyers.low)} to {_points(buyers.high)}"
    return (
        f"{buyers.treated:.1%} of the treated bought, {buyers.held_out:.1%} of those held out: {adjusted}a difference "
        f"of {_points(buyers.difference)} points ({interval})."
    )


def _on_spend(spend: Effect, adjusted: str, unit: str, treated_count: int) -> str:
    is_clear = spend.low > 0 or spend.high < 0
    return (
        f"The treated spent {spend.treated:,.2f}{unit} each, those held out {spend.held_out:,.2f}{unit}: {adjusted}a "
        f"difference of {spend.difference:+,.2f}{unit} (95% interval {spend.low:+,.2f} to {spend.high:+,.2f})"
        + (f", in all {spend.difference * treated_count:+,.0f}{unit}." if is_clear else ".")
    )


def _advice(measured: CampaignEffect, facet: str, by: Outcome) -> str:
    """Whom to send next time, whom not, and for whom it is open."""
    names = {
        verdict: [str(group.segment) for group in measured.segments if group.effect(by) and group.verdict == verdict]
        for verdict in ("send", "do not send", "not clear")
    }
    hidden = sum(group.effect(by) is None for group in measured.segments)
    sentences = [f"By {facet}, next time:"]
    if names["send"]:
        sentences.append(f"send to {_listed(names['send'])}.")
    if names["do not send"]:
        sentences.append(f"do not send to {_listed(names['do not send'])}, who {LESS[by]}.")
    if names["not clear"]:
        sentences.append(f"not clear for {_listed(names['not clear'])}: hold out more customers, or wait longer.")
    if hidden:
        sentences.append(f"{counted(hidden, 'segment')} with too few customers or buyers to say.")
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)  # names have commas


def _table(measured: CampaignEffect, facet: str, by: Outcome, unit: str) -> list[str]:
    rows = [[facet.capitalize(), *HEADERS[by]], *(_row(group, by, unit) for group in measured.segments)]
    return align_columns(rows, right=range(1, len(HEADERS[by])))


def _row(group: GroupEffect, by: Outcome, unit: str) -> list[str]:
    counts = [str(group.segment), f"{group.treated_count:,}", f"{group.held_out_count:,}"]
    decisive, buyers, spend = group.effect(by), group.buyers, group.spend
    if decisive is None or buyers is None:
        return [*counts, "", "", "", "", "", REASONS.get(group.missing, group.missing) or "nobody bought"]
    if by == "buyers":
        other = "" if spend is None else f"{spend.difference:+,.2f}{unit}"
        means, change = [f"{decisive.treated:.1%}", f"{decisive.held_out:.1%}"], _points
    else:
        other = _points(buyers.difference)
        means, change = [f"{decisive.treated:,.2f}{unit}", f"{decisive.held_out:,.2f}{unit}"], "{:+,.2f}".format
    interval = f"{change(decisive.low)} to {change(decisive.high)}"
    return [*counts, *means, change(decisive.difference), interval, other, group.verdict]


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _unit(currency: str | None) -> str:
    return f" {currency}" if currency else ""
