"""Control groups: which customers a campaign leaves out, and the smallest effect that such a group can show."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from models.scorer import Floats

EXACT_BELOW = 40.0
"""Customers expected in a stratum's smaller group: of 40, chance leaves fewer than half once in 10,000 draws. A stratum
with fewer is drawn exactly."""
MISMATCH_LEVEL = 0.001
"""A split is checked at every campaign and an alarm stops its reading, so false alarms must be rare (Fabijan and
others, 2019, "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD)."""
NUMBER_BYTES = 8
MANTISSA_BITS = 53
"""Of a float64: as many bits of a hash make a number in [0, 1) that never rounds up to 1."""


def holdout_groups(
    customer_ids: Sequence[str] | pd.Series,
    *,
    campaign: str,
    key: str,
    share: float,
    strata: Sequence[str] | pd.Series | None = None,
    exact_below: float = EXACT_BELOW,
) -> NDArray[np.bool_]:
    """Whether each customer is held out of a campaign.

        customer_ids (n,) -> is_held_out (n,), in the same order

    Every customer has a number in [0, 1) for the campaign (`customer_numbers`), and those with the smallest numbers are
    held out. Without strata, and in large strata, they are the customers whose number is below ``share``. In a small
    stratum chance could leave too few, so exactly ``share`` of its customers are held out: those with its smallest
    numbers. Where ``share * n`` is not whole, the stratum's own number decides whether it is rounded up or down, with a
    chance equal to its fraction; always rounding to the nearest would hold out no one, or far too many, over many tiny
    strata.

    Parameters
    ----------
    customer_ids : sequence of str, shape (n,)
        Each customer once, none null.
    campaign : str
        Another name draws another control group, independent of this one.
    key : str
        A secret of the shop, so that nobody outside can work out who is held out.
    share : float, in (0, 1)
        Of customers held out.
    strata : sequence of str, shape (n,), optional
        A label of each customer, such as the segment; customers without one form a stratum of their own.
    exact_below : float
        A stratum is small when its smaller group is expected to have fewer customers than this.

    Raises
    ------
    ValueError
        A share outside (0, 1), an empty key or campaign, a customer that is null or there twice, or strata of another
        length.

    Notes
    -----
    What a customer's group depends on:

    - always on the customer_id, the campaign, the key and ``share``; never on the order of customers or the time;
    - without strata, on nothing else: not on who else is in the list, so that tomorrow's list gives the same groups;
    - in a large stratum, also on the stratum being large;
    - in a small stratum of n customers, also on who else is in it. Its border is then not ``share`` but the largest
      number held out, which chance keeps within about ``3 * sqrt(share * (1 - share) / n)`` of ``share``; only
      customers whose numbers lie between the two can change groups when others come or go.

    Numbers never depend on the stratum, so a customer who moves between large strata keeps the group. A larger
    ``share`` without strata holds out the same customers and more. For a campaign that runs over several days, use no
    strata, or draw only those who are new and keep the groups of the others.
    """
    _check(campaign=campaign, key=key, share=share)
    numbers = customer_numbers(customer_ids, campaign=campaign, key=key)
    is_held_out = numbers < share
    if strata is None:
        return is_held_out
    codes, labels = pd.factorize(pd.Series(strata), use_na_sentinel=False)
    if len(codes) != len(numbers):
        raise ValueError(f"strata must have a label for each of the {len(numbers):,} customers; got {len(codes):,}.")
    sizes = np.bincount(codes, minlength=len(labels))
    small = np.flatnonzero(sizes * min(share, 1.0 - share) < exact_below)
    if small.size:
        roundings = np.ones(len(labels))
        roundings[small] = _numbers(
            ["" if pd.isna(one) else str(one) for one in labels[small]], campaign, key, "stratum"
        )
        counts = np.floor(share * sizes + roundings).astype(np.int64)
        is_small = np.isin(codes, small)
        is_held_out[is_small] = _smallest(numbers[is_small], codes[is_small], counts)
    return is_held_out


def _smallest(numbers: Floats, codes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each customer has one of the ``counts[code]`` smallest numbers of its stratum."""
    order = np.lexsort((numbers, codes))
    sorted_codes = codes[order]
    places = np.arange(len(order)) - np.searchsorted(sorted_codes, sorted_codes)
    is_smallest = np.empty(len(order), dtype=np.bool_)
    is_smallest[order] = places < counts[sorted_codes]
    return is_smallest


def customer_numbers(customer_ids: Sequence[str] | pd.Series, *, campaign: str, key: str) -> Floats:
    """A number in [0, 1) for each customer, uniform and independent between customers, campaigns and keys.

    The first 53 bits of keyed BLAKE2b (RFC 7693) of the customer_id, under a key that is HMAC-SHA256 (RFC 2104) of the
    campaign's name. A million customers take about half a second.

    Parameters
    ----------
    customer_ids : sequence of str, shape (n,)
        Each customer once, none null.

    Raises
    ------
    ValueError
        A customer is null or there twice: "1" and 1 are the same customer.
    """
    ids = pd.Series(customer_ids)
    if ids.isna().any():
        raise ValueError(f"{int(ids.isna().sum()):,} customers have no customer_id: leave them out of the audience.")
    texts = [str(one) for one in ids]
    if len(set(texts)) < len(texts):
        twice = ids[pd.Series(texts, index=ids.index).duplicated()].iloc[0]
        raise ValueError(f"Customer {twice!r} is in the list more than once: pass each customer once.")
    return _numbers(texts, campaign, key, "customer")


def _numbers(texts: list[str], campaign: str, key: str, purpose: str) -> Floats:
    """Uniform numbers of texts; those of customers and of strata share nothing."""
    secret = hmac.digest(key.encode(), f"{purpose}\0{campaign}".encode(), "sha256")
    keyed = hashlib.blake2b(key=secret, digest_size=NUMBER_BYTES)
    digests = []
    for text in texts:
        one = keyed.copy()
        one.update(text.encode())
        digests.append(one.digest())
    whole = np.frombuffer(b"".join(digests), dtype=">u8")
    return (whole >> np.uint64(64 - MANTISSA_BITS)).astype(np.float64) * 2.0**-MANTISSA_BITS


def _check(*, campaign: str, key: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ValueError(
            f"The share of customers held out must be above 0 and below 1, such as 0.1; got {share}. "
            "To send to everyone, draw no control group; the effect of such a campaign cannot be measured."
        )
    if not campaign or not key:
        missing = "campaign" if not campaign else "key"
        raise ValueError(f"The {missing} is empty: give a text that stays the same for the whole campaign.")


@dataclass(frozen=True)
class SplitCheck:
    """Whether as many customers were held out as planned.

    Attributes
    ----------
    p_value : float
        Chi-square, one degree of freedom: how likely chance is to make a split at least as uneven. 1 without customers.
    is_mismatch : bool
        Customers went missing from one group, or were not drawn as planned: no figure can be trusted.
    """

    planned_share: float
    held_out_count: int
    customer_count: int
    p_value: float
    is_mismatch: bool


def split_check(is_held_out: NDArray[np.bool_], *, planned_share: float) -> SplitCheck:
    """Compare the observed split with the planned share of held-out customers.

    For groups drawn exactly within strata the test is too mild, as they vary less than it expects.
    """
    if not 0.0 < planned_share < 1.0:
        raise ValueError(f"The planned share of held-out customers must be above 0 and below 1; got {planned_share}.")
    count, total = int(is_held_out.sum()), len(is_held_out)
    p_value = 1.0
    if total:
        expected = total * np.array([planned_share, 1.0 - planned_share])
        p_value = float(stats.chisquare([count, total - count], expected).pvalue)
    return SplitCheck(planned_share, count, total, p_value, p_value < MISMATCH_LEVEL)


def detectable_effect(
    n_treated: int, n_held_out: int, base_rate: float, *, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """The smallest rise in the share of buyers that groups of these sizes show with a probability of ``power``.

    The test of two proportions, two-sided. With the shares p1 and p2, their mean p over all customers and q = 1 - p,

        power = Phi((p1 - p2 - z * sqrt(p q (1/n1 + 1/n2))) / sqrt(p1 q1 / n1 + p2 q2 / n2)),   z = Phi^-1(1 - alpha/2)

    (Fleiss, Levin and Paik, 2003, Statistical Methods for Rates and Proportions, chapter 4, without the continuity
    correction; `models.effect_estimates` tests in the same way), solved for p1 by Brent's method.

    Parameters
    ----------
    base_rate : float, in [0, 1]
        Share of buyers among customers who are not sent the campaign.

    Returns
    -------
    float or None
        The rise: 0.009 where a share of 4.0% must become 4.9%. None when the groups are so small, or the base rate so
        high, that not even everyone buying would show.
    """
    if not 0.0 <= base_rate <= 1.0:
        raise ValueError(f"The base rate is a share of customers, from 0 to 1; got {base_rate}.")
    if min(n_treated, n_held_out) < 1:
        return None
    z = stats.norm.isf(alpha / 2.0)
    customers = n_treated + n_held_out

    def missing_power(rise: float) -> float:
        rate = base_rate + rise
        mean = (n_treated * rate + n_held_out * base_rate) / customers
        null_error = np.sqrt(max(mean * (1.0 - mean), 0.0) * (1.0 / n_treated + 1.0 / n_held_out))
        variance = rate * (1.0 - rate) / n_treated + base_rate * (1.0 - base_rate) / n_held_out
        margin = rise - z * null_error
        error = np.sqrt(max(variance, 1e-18))
        return float(stats.norm.cdf(margin / error) - power)

    most = 1.0 - base_rate
    if most <= 0.0 or missing_power(most) < 0.0:
        return None
    return float(optimize.brentq(missing_power, 0.0, most, xtol=1e-12))
