"""`kindred effect`: what an audience's campaign brought, whom to send it next time and whom not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from models.campaign_effect import CampaignEffect, GroupEffect
from models.effect_estimates import Effect
from pipeline.audiences.effect import FACETS, MeasuredEffect, measure_effect
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import StoredAudience, stored_audiences
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.report.terminal import align_columns, counted
from pipeline.stores.workspace import workspace

HEADER = ["Treated", "Held out", "Bought", "of held out", "Difference", "95% interval", "Spend", "Verdict"]
REASONS: dict[str | None, str] = {
    "too few others": "too few without a purchase",
    "protected": "hidden: it would show a small group",
}
"""Reasons of `models.campaign_effect.Missing` that need other words."""


def effect(params: Params, name: str, *, until: datetime, as_of: datetime | None = None) -> str:
    """The effect of the audience ``name`` on purchases from its date to ``until``, in sentences and tables.

    Parameters
    ----------
    as_of : datetime, optional
        Date of the audience; the last one before ``until`` if left out.

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
        measured = measure_effect(session.con, source.events, audience, until=until, min_group=params.naming.min_group)
    return as_text(measured, silence_days=params.minimum.usual_silence_days, currency=params.currency)


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


def as_text(measured: MeasuredEffect, *, silence_days: float, currency: str | None) -> str:
    """The effect in sentences, whom to send next time, and a table for each facet."""
    audience, until, effects = measured.audience, measured.until, measured.by_facet
    first = next(iter(effects.values()))
    overall, unit = first.overall, f" {currency}" if currency else ""
    lines = [
        f"{audience.name}, {audience.as_of:%Y-%m-%d} to {until:%Y-%m-%d}: {overall.treated_count:,} treated, "
        f"{overall.held_out_count:,} held out",
        *_sentences(first, unit),
    ]
    silence = until - measured.last_event_at
    if silence > timedelta(days=silence_days):
        lines.append(
            f"Warning: the log ends on {measured.last_event_at:%Y-%m-%d}, so purchases of the last "
            f"{counted(silence.days, 'day')} are missing."
        )
    if first.split.is_mismatch:
        share = overall.held_out_count / max(overall.held_out_count + overall.treated_count, 1)
        lines.append(
            f"Warning: {share:.1%} of customers were held out, {first.split.planned_share:.1%} were planned: customers "
            "are missing from one group, so no verdict is given."
        )
    for column, effect_by in effects.items():
        lines += ["", *_advice(effect_by, FACETS[column]), "", *_table(effect_by, FACETS[column], unit)]
    return "\n".join(lines)


def _sentences(measured: CampaignEffect, unit: str) -> list[str]:
    overall = measured.overall
    if overall.buyers is None:
        return [f"The effect is not shown: {REASONS.get(overall.missing, overall.missing) or 'nobody bought'}."]
    buyers = overall.buyers
    adjusted = "adjusted for what was known before, " if measured.covariate_columns else ""
    verdict = {
        "send": "The campaign made customers buy who would not have bought.",
        "do not send": "The campaign kept customers from buying.",
        "not clear": "This may be chance: no effect is shown.",
    }[overall.verdict]
    interval = f"95% interval {_points(buyers.low)} to {_points(buyers.high)}"
    lines = [
        f"{buyers.treated:.1%} of the treated bought, {buyers.held_out:.1%} of those held out: {adjusted}a difference "
        f"of {_points(buyers.difference)} points ({interval}). {verdict}"
    ]
    if overall.spend is not None:
        spend = overall.spend
        lines.append(
            f"They spent {spend.treated:,.2f}{unit} each, those held out {spend.held_out:,.2f}{unit}: a difference of "
            f"{spend.difference:+,.2f}{unit} (95% interval {spend.low:+,.2f} to {spend.high:+,.2f})"
            + (f", in all {spend.difference * overall.treated_count:+,.0f}{unit}." if _is_clear(spend) else ".")
        )
    if buyers.variance_reduction > 0.005:
        lines.append(
            f"What was known of customers before takes {buyers.variance_reduction:.0%} of the variance out of this."
        )
    return lines


def _is_clear(effect: Effect) -> bool:
    return effect.low > 0 or effect.high < 0


def _advice(measured: CampaignEffect, facet: str) -> list[str]:
    """Whom to send next time, whom not, and for whom it is open."""
    names = {
        verdict: [str(group.segment) for group in measured.segments if group.buyers and group.verdict == verdict]
        for verdict in ("send", "do not send", "not clear")
    }
    hidden = sum(group.buyers is None for group in measured.segments)
    sentences = [f"By {facet}, next time:"]
    if names["send"]:
        sentences.append(f"send to {_listed(names['send'])}.")
    if names["do not send"]:
        sentences.append(f"do not send to {_listed(names['do not send'])}, who bought less.")
    if names["not clear"]:
        sentences.append(f"not clear for {_listed(names['not clear'])}: hold out more customers, or wait longer.")
    if hidden:
        sentences.append(f"{counted(hidden, 'segment')} with too few customers or buyers to say.")
    return [" ".join(sentences)]


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)  # names have commas


def _table(measured: CampaignEffect, facet: str, unit: str) -> list[str]:
    rows = [[facet.capitalize(), *HEADER]]
    rows += [_row(group, unit) for group in measured.segments]
    return align_columns(rows, right=range(1, len(HEADER)))


def _row(group: GroupEffect, unit: str) -> list[str]:
    counts = [str(group.segment), f"{group.treated_count:,}", f"{group.held_out_count:,}"]
    if group.buyers is None:
        return [*counts, "", "", "", "", "", REASONS.get(group.missing, group.missing) or "nobody bought"]
    buyers, spend = group.buyers, group.spend
    return [
        *counts,
        f"{buyers.treated:.1%}",
        f"{buyers.held_out:.1%}",
        _points(buyers.difference),
        f"{_points(buyers.low)} to {_points(buyers.high)}",
        "" if spend is None else f"{spend.difference:+,.2f}{unit}",
        group.verdict,
    ]


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
