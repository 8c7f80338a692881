"""Interest shares of customers from an expression of their evidence, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features.categories import CategoryCut
from features.interests import EVIDENCE_LISTS, SHARE_PREFIX, category_evidence, evidence_lists
from models.interests import interest_shares
from models.tree import cut_levels
from pipeline.profiles.vectors import dense


def shares_by_customer(con: Any, event_evidence: Any, cut: CategoryCut, *, kappa: float) -> pd.DataFrame:
    """Evidence and "interest: <category>" of each customer (index), from `features.interests.event_evidence`."""
    vectors = con.to_pyarrow(evidence_lists(category_evidence(event_evidence)).order_by("customer_id")).combine_chunks()
    lists = (vectors[name].combine_chunks() for name in EVIDENCE_LISTS)
    shares = interest_shares(dense(*lists, width=len(cut.categories)), cut_levels(cut), kappa=kappa)
    names = [SHARE_PREFIX + category for category in cut.categories]
    table = pd.DataFrame(np.asarray(shares.T), columns=names, index=pd.Index(vectors["customer_id"].to_pylist()))
    return table.assign(evidence=vectors["evidence"].to_numpy())
