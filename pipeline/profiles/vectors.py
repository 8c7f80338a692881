"""The sparse vectors of the measures as columns of the profiles, batch by batch."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.interests import EVIDENCE_LISTS, SHARE_PREFIX
from features.profile import ProfileSpec
from features.seasons import SEASON_LISTS, SEASON_PREFIX, slot_count
from models.interests import interest_shares
from models.scorer import Floats
from models.tree import cut_levels
from pipeline.config.params import Params


def with_dense_columns(
    batch: pa.RecordBatch, spec: ProfileSpec, params: Params, columns: Collection[str] | None
) -> pa.RecordBatch:
    """Profiles with interest shares and evidence by period in place of the lists of the measures.

        batch (..., evidence_columns, evidence_values, season_slots, season_values)     lists may be missing
     -> batch (..., "interest: <category>"..., "season: <slot>"...)

    Parameters
    ----------
    columns : collection of str, optional
        Interest shares that are wanted. Default: all.
    """
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    if EVIDENCE_LISTS[0] in arrays:
        categories = spec.cut.categories
        evidence = dense(*(arrays.pop(name) for name in EVIDENCE_LISTS), width=len(categories))
        shares = interest_shares(evidence, cut_levels(spec.cut), kappa=params.interests.kappa)
        named = _columns([SHARE_PREFIX + category for category in categories], shares)
        arrays |= {name: share for name, share in named.items() if columns is None or name in columns}
    if SEASON_LISTS[0] in arrays:
        slots = range(slot_count(spec.history_days, params.naming.season_days))
        by_slot = dense(*(arrays.pop(name) for name in SEASON_LISTS), width=len(slots))
        arrays |= _columns([f"{SEASON_PREFIX}{slot}" for slot in slots], by_slot)
    return pa.RecordBatch.from_pydict(arrays)


def dense(places: pa.ListArray, values: pa.ListArray, *, width: int) -> Floats:
    """The matrix with a column for each pair of lists, of a place and its value; 0 elsewhere, and for null lists."""
    lengths = pc.fill_null(pc.list_value_length(places), 0).to_numpy()
    matrix = np.zeros((width, len(places)))
    matrix[places.flatten().to_numpy(), np.repeat(np.arange(len(places)), lengths)] = values.flatten().to_numpy()
    return matrix


def _columns(names: list[str], matrix: Floats) -> dict[str, pa.Array]:
    return {name: pa.array(column) for name, column in zip(names, matrix, strict=True)}
