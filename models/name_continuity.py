"""Names that survive retraining: segments of the same kind keep their names, and manual names follow their segments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import Any

import pandas as pd


def keep_names(
    named: dict[str, dict[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    figures: pd.DataFrame,
    traits: Sequence[Mapping[str, Any]],
) -> None:
    """Keep the previous name of every segment that is still of the same kind, unless another segment has it now.

    A name whose trait (`naming.name_segments`) contradicts the figures is dropped: customers called "viewing more" must
    not view less than those of any other segment of their kind. Without another segment of the kind, the comparison
    has no meaning, and the name is dropped as well.

    Parameters
    ----------
    figures : DataFrame
        `segment_metrics.segment_figures` of the current segments, and of "shop".
    """
    kept = {
        segment_id: {**segment, "names": dict(known[segment_id]["names_by_figures"])}
        for segment_id, segment in named.items()
        if segment_id in known
        and _kind(known[segment_id]) == _kind(segment)
        and _trait_holds(known[segment_id]["names_by_figures"]["en"], segment_id, named, figures, traits)
    }
    while True:
        segments = {**named, **kept}
        names = {segment_id: json.dumps(segment["names"], sort_keys=True) for segment_id, segment in segments.items()}
        counts = Counter(names.values())
        clashing = [segment_id for segment_id in kept if counts[names[segment_id]] > 1]
        if not clashing:
            break
        for segment_id in clashing:
            del kept[segment_id]
    named.update(kept)


def _trait_holds(
    name: str,
    segment_id: str,
    named: Mapping[str, Mapping[str, Any]],
    figures: pd.DataFrame,
    traits: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether the current figures support the trait at the end of a name; True for a name without a trait."""
    kind = _kind(named[segment_id])
    peers = [other for other in named if other != segment_id and _kind(named[other]) == kind]
    for trait, word in product(traits, ("above", "below", "between")):
        if not trait[word] or not name.endswith(f", {trait[word]['en']}"):
            continue
        own = figures.loc[segment_id, trait["figure"]]
        others = figures.loc[peers, trait["figure"]]
        if others.empty:
            return False
        if word == "between":
            return bool(others.min() < own < others.max())
        return bool((own >= others).all() if word == "above" else (own <= others).all())
    return True


@dataclass(frozen=True)
class ManualName:
    """A name given by hand to a segment that is gone.

    Attributes
    ----------
    segment_id, name : str
    segment : mapping
        Its row in the champion's table: archetype, names_by_figures.
    successors : sequence of str
        The new segments that share most customers with it.
    """

    segment_id: str
    name: str
    segment: Mapping[str, Any]
    successors: Sequence[str]


def inheritors(
    names: Sequence[ManualName], named: Mapping[str, Mapping[str, Any]], new_ids: Collection[str]
) -> dict[str, list[str]]:
    """The new segments that could inherit each manual name: segment_id of the name -> their segment_ids, sorted.

    These are the new segments with the archetype, or else the automatic name, of the segment that is gone; without
    any, its successors. A segment that could inherit two names is offered both, so neither name is certain.
    """
    found = {}
    for name in names:
        same_kind = [segment_id for segment_id in new_ids if _is_same_kind(name.segment, named.get(segment_id))]
        found[name.segment_id] = sorted(same_kind or name.successors)
    return found


def _is_same_kind(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    if now is None:
        return False
    archetype = before.get("archetype")
    return now["archetype"] == archetype if archetype else now["names"] == before.get("names_by_figures")


def avoid_manual_names(named: dict[str, dict[str, Any]], given: Mapping[str, str]) -> None:
    """Add a number to the name of a segment if another segment was given that name by hand."""
    for segment_id, segment in named.items():
        manual = {name for other, name in given.items() if other != segment_id}
        names = {}
        for language, name in segment["names"].items():
            taken = manual | {other["names"][language] for other in named.values()}
            numbered = (f"{name} {number}" for number in count(2))
            names[language] = next(free for free in numbered if free not in taken) if name in manual else name
        segment["names"] = names


def _kind(segment: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a name means before any addition that makes it unique: the archetype, else the figure it is based on."""
    first = segment["evidence"][0] if segment["evidence"] and not segment["archetype"] else {}
    return segment["archetype"], first.get("figure"), tuple(first.get("condition", ()))
