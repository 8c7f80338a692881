"""What segments foretold, as the report tells it: a text, and a table of figures with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {
    "buys_auc": "Who buys at all (AUROC)",
    "spend_r2": "How much they spend (R² of its log)",
    "category_auc": "Who buys in a category (AUROC)",
}


def validity_section(validity: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`pipeline.validity.Validity.as_dict` as text, head and rows of texts; None where nothing was measured."""
    if validity is None or not validity["rows"]["segments"]:
        return None
    shown = [name for name in TITLES if name in validity["rows"]["segments"]]
    rows = [
        [name[0].upper() + name[1:], *(_figure(row.get(one)) for one in shown)]
        for name, row in validity["rows"].items()
    ]
    kept = ["Kept of what can be told", *(_kept(validity["kept"].get(one)) for one in shown)]
    return {
        "text": (
            f"Segments were fixed on {validity['cutoff']}, and what each of {validity['customer_count']:,} customers "
            f"did in the {validity['horizon_days']} days after it was foretold by the mean of their segment alone; "
            f"{validity['buyer_count']:,} bought. Beside it other ways to make as many groups "
            f"({validity['group_count']}, those of customers of whom little is known among them), and the best that "
            f"the whole profile could tell of {validity['ceiling_count']:,} of them. Chance is 0.5 for who, and 0 for "
            "how much; 95% intervals over customers are in brackets."
        ),
        "head": [TITLES[name] for name in shown],
        "rows": [*rows, kept],
    }


def _figure(figure: Mapping[str, float] | None) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})" if figure else "–"


def _kept(share: float | None) -> str:
    return f"{share:.0%}" if share is not None else "–"
