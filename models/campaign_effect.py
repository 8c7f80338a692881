"""What a campaign achieved: treated compared with held-out customers, by segment, and whether to send it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from models.control_groups import SplitCheck, split_check
from models.covariate_adjustment import adjusted_outcome, usable_columns
from models.effect_estimates import Effect, Kind, estimate_effect
from models.scorer import Floats

Flags = NDArray[np.bool_]
Verdict = Literal["send", "do not send", "not clear"]
Outcome = Literal["buyers", "spend"]
"""What a verdict is about: the share of customers who buy, or spend per customer."""
Missing = Literal[
    "no treated customers",
    "no held-out customers",
    "too few customers",
    "too few buyers",
    "too few others",
    "protected",
]
"""Why customers have no figures; others: who did not buy; protected: they would give away those of a small group."""


@dataclass(frozen=True)
class GroupEffect:
    """The effect on all customers or on one segment.

    Attributes
    ----------
    segment : str or None
        None: all customers.
    buyers, spend : Effect or None
        On the share of buyers and on spend per customer; None where ``missing`` says why, where nothing varies, or
        where spend is not known.
    q_value : float or None
        Of the outcome that decides, corrected for the number of segments; for all customers its p-value.
    """

    segment: str | None
    treated_count: int
    held_out_count: int
    buyers: Effect | None
    spend: Effect | None
    missing: Missing | None
    q_value: float | None
    verdict: Verdict

    def effect(self, outcome: Outcome) -> Effect | None:
        """The effect on one outcome."""
        return self.buyers if outcome == "buyers" else self.spend


@dataclass(frozen=True)
class CampaignEffect:
    """A campaign's effect.

    Attributes
    ----------
    segments : tuple of GroupEffect
        In the order of their labels.
    spend_cap : float or None
        What a customer's spend was limited to, if that was asked for.
    covariate_columns : int
        Columns that were taken out of the outcomes; 0 without covariates, or with too few customers for them.
    """

    overall: GroupEffect
    segments: tuple[GroupEffect, ...]
    split: SplitCheck
    spend_cap: float | None
    covariate_columns: int


@dataclass(frozen=True)
class _Data:
    """Outcomes of customers, each of shape (n,); ``adjusted_...`` less what covariates predict."""

    is_held_out: Flags
    buyer: Floats
    adjusted_buyer: Floats
    spend: Floats | None
    adjusted_spend: Floats | None


def campaign_effect(
    is_held_out: Flags,
    is_buyer: Flags,
    spend: Floats | None = None,
    *,
    planned_share: float,
    segments: Sequence[str] | pd.Series | None = None,
    covariates: pd.DataFrame | None = None,
    min_group: int = 10,
    decide_by: Outcome = "buyers",
    worth: float = 0.0,
    spend_cap_quantile: float | None = None,
    alpha: float = 0.05,
) -> CampaignEffect:
    """Compare customers to whom a campaign was sent with those held out.

        is_held_out, is_buyer, spend, segments, each (n,), covariates (n, columns)
     -> the effect on all customers and on each segment

    Everybody drawn counts in the group they were drawn into, whether or not the message reached them. Rows of all
    arguments are the same customers in the same order; an index is not looked at.

    Parameters
    ----------
    is_buyer : array of bool, shape (n,)
        Whether the customer did, within the time the campaign is judged by, what it was sent for.
    spend : array of shape (n,), optional
        In that time; 0 for customers who bought nothing.
    planned_share : float, in (0, 1)
        Of customers to be held out.
    segments : sequence of str, shape (n,), optional
        A label of each customer from before the campaign. Another facet is another call.
    covariates : DataFrame of n rows, optional
        Numbers and labels known before the campaign (`models.covariate_adjustment`); missing ones may be null.
    min_group : int
        A group has no figures when it has, treated or held out, fewer buyers or fewer others. Neither has the next
        smallest where a small one could be worked out from the rest.
    decide_by, worth : outcome and smallest rise that pays
        A share of customers (0.01 is a point) or an amount per customer, such as the cost of a message over the margin.
    spend_cap_quantile : float, optional
        Limits spend to this quantile of what buyers of both groups spent (winsorising). Less noise, but it measures
        something else: spend up to the limit.
    alpha : float
        Intervals cover 1 - alpha, each for itself; of the verdicts on segments, at most alpha are expected to be wrong.
        So among many segments one can be "not clear" whose own interval lies above what pays.

    Raises
    ------
    ValueError
        Arguments of unequal lengths, spend that is not known of everyone or at all though it decides, or a customer
        without a segment.
    """
    is_held_out, is_buyer = np.asarray(is_held_out, dtype=np.bool_), np.asarray(is_buyer, dtype=np.bool_)
    spend = None if spend is None else np.asarray(spend, dtype=np.float64)
    if decide_by == "spend" and spend is None:
        raise ValueError("Spend is to decide, but none was given: pass spend, or decide by buyers.")
    labels = pd.Series([] if segments is None else segments)
    _check(is_held_out, is_buyer, spend, None if segments is None else labels, covariates)
    cap = _cap(spend, spend_cap_quantile)
    capped = spend if spend is None or cap is None else np.minimum(spend, cap)
    columns = usable_columns(covariates, is_held_out)
    data = _data(is_held_out, is_buyer, capped, columns)
    split = split_check(is_held_out, planned_share=planned_share)
    codes, names = pd.factorize(labels, sort=True)
    missing = _missing(_counts(data, codes, len(names)), min_group=min_group) if len(names) else []
    groups = [_group(data, codes == code, str(name), missing[code], worth, alpha) for code, name in enumerate(names)]
    everyone = np.ones(len(is_held_out), dtype=np.bool_)
    hidden = _reason(_counts(data, np.zeros(len(everyone), dtype=np.int64), 1)[0], min_group=min_group)
    overall = _group(data, everyone, None, hidden, worth, alpha)
    return CampaignEffect(
        _decide([overall], split, by=decide_by, worth=worth, alpha=alpha)[0],
        tuple(_decide(groups, split, by=decide_by, worth=worth, alpha=alpha)),
        split,
        cap,
        columns.shape[1],
    )


def _check(
    is_held_out: Flags,
    is_buyer: Flags,
    spend: Floats | None,
    segments: pd.Series | None,
    covariates: pd.DataFrame | None,
) -> None:
    lengths = {"is_buyer": is_buyer, "spend": spend, "segments": segments, "covariates": covariates}
    for name, values in lengths.items():
        if values is not None and len(values) != len(is_held_out):
            raise ValueError(
                f"{name} has {len(values):,} rows; is_held_out has {len(is_held_out):,}: pass one of each."
            )
    if spend is not None and not np.isfinite(spend).all():
        count = int((~np.isfinite(spend)).sum())
        raise ValueError(f"The spend of {count:,} customers is not known: it is 0 for those who bought nothing.")
    if segments is not None and segments.isna().any():
        raise ValueError(f"{int(segments.isna().sum()):,} customers have no segment: give them a label of their own.")


def _cap(spend: Floats | None, quantile: float | None) -> float | None:
    """The quantile of what buyers of both groups spent: one limit for all, so it makes no difference between them."""
    if spend is None or quantile is None or not (spend > 0).any():
        return None
    return float(np.quantile(spend[spend > 0], quantile))


def _data(is_held_out: Flags, is_buyer: Flags, spend: Floats | None, columns: Floats) -> _Data:
    buyer = is_buyer.astype(np.float64)
    adjusted_spend = None if spend is None else adjusted_outcome(spend, columns, is_held_out)
    return _Data(is_held_out, buyer, adjusted_outcome(buyer, columns, is_held_out), spend, adjusted_spend)


def _counts(data: _Data, codes: NDArray[np.int64], group_count: int) -> NDArray[np.int64]:
    """Customers of each group of codes: treated buyers, treated others, held-out buyers, held-out others."""
    cells = 2 * data.is_held_out + (data.buyer == 0)
    return np.bincount(4 * codes + cells, minlength=4 * group_count).reshape(group_count, 4)


def _missing(counts: NDArray[np.int64], *, min_group: int) -> list[Missing | None]:
    """Why each group of customers has no figures, or None."""
    reasons = [_reason(one, min_group=min_group) for one in counts]
    hidden = np.array([one is not None for one in reasons], dtype=np.bool_)
    for place in np.argsort(counts.min(axis=1), kind="stable"):
        total = counts[hidden].sum(axis=0)
        # Figures of all customers less those of the shown groups are the figures of all hidden ones together.
        if not hidden[place] and ((total > 0) & (total < min_group)).any():
            reasons[place], hidden[place] = "protected", True
    return reasons


def _reason(counts: NDArray[np.int64], *, min_group: int) -> Missing | None:
    treated, held_out = counts[:2].sum(), counts[2:].sum()
    if not treated:
        return "no treated customers"
    if not held_out:
        return "no held-out customers"
    if min(treated, held_out) < min_group:
        return "too few customers"
    if counts[[0, 2]].min() < min_group:
        return "too few buyers"
    return "too few others" if counts.min() < min_group else None


def _group(
    data: _Data, chosen: Flags, segment: str | None, missing: Missing | None, worth: float, alpha: float
) -> GroupEffect:
    held_out = data.is_held_out[chosen]

    def effect(outcome: Floats | None, adjusted: Floats | None, kind: Kind) -> Effect | None:
        if missing is not None or outcome is None or adjusted is None:
            return None
        return estimate_effect(
            outcome[chosen], adjusted[chosen], held_out, kind=kind, worth=worth, confidence=1.0 - alpha
        )

    return GroupEffect(
        segment=segment,
        treated_count=int((~held_out).sum()),
        held_out_count=int(held_out.sum()),
        buyers=effect(data.buyer, data.adjusted_buyer, "share"),
        spend=effect(data.spend, data.adjusted_spend, "amount"),
        missing=missing,
        q_value=None,
        verdict="not clear",
    )


def _decide(
    groups: list[GroupEffect], split: SplitCheck, *, by: Outcome, worth: float, alpha: float
) -> list[GroupEffect]:
    """The groups with their q-values and verdicts.

    A verdict is given where the difference is significantly above or below what pays. Over segments, Benjamini and
    Hochberg (1995) keep the expected share of wrong verdicts among those given at ``alpha`` or less: of twenty segments
    that are sent to, about one may be wrong, which costs some messages. Holm's correction would allow hardly any wrong
    one, and leave most segments unclear. After a split that was not as planned, nothing is clear.
    """
    effects = [one.effect(by) for one in groups]
    p_values = [one.worth_p_value for one in effects if one is not None]
    q_values = iter(stats.false_discovery_control(p_values, method="bh") if p_values else [])
    decided = []
    for group, effect in zip(groups, effects, strict=True):
        q_value = None if effect is None else float(next(q_values))
        verdict: Verdict = "not clear"
        if effect is not None and q_value is not None and q_value <= alpha and not split.is_mismatch:
            verdict = "send" if effect.difference > worth else "do not send"
        decided.append(replace(group, q_value=q_value, verdict=verdict))
    return decided
