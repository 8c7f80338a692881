"""Names that survive retraining: segments of the same kind keep their names, and manual names follow their segments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import pandas as pd

from models.segment_names import Naming, SegmentNames
from models.traits import Trait, contradicts


def keep_names(
    named: Mapping[str, Naming], champion: Mapping[str, Naming], figures: pd.DataFrame, traits: Sequence[Trait]
) -> dict[str, Naming]:
    """Keep the champion's name of every segment that is still of the same kind, unless another segment has it now.

    A name whose trait contradicts the figures is dropped: customers called "viewing more" must not view less than those
    of any other segment of their kind.

    Parameters
    ----------
    named : mapping
        segment_id -> `models.naming.NameRules.assign`, or `models.interest_names.name_by_interests`.
    champion : mapping
        segment_id -> the champion's naming of a segment that survived.
    figures : DataFrame
        `segment_metrics.segment_figures` of the current segments, and of "shop".
    """
    kept = {
        segment_id: replace(naming, names=SegmentNames(champion[segment_id].names.by_figures))
        for segment_id, naming in named.items()
        if segment_id in champion
        and champion[segment_id].kind == naming.kind
        and not contradicts(
            champion[segment_id].names.by_figures["en"], segment_id, _peers(segment_id, named), figures, traits
        )
    }
    while True:
        result = {**named, **kept}
        names = {
            segment_id: json.dumps(dict(naming.names.by_figures), sort_keys=True)
            for segment_id, naming in result.items()
        }
        counts = Counter(names.values())
        clashing = {segment_id for segment_id in kept if counts[names[segment_id]] > 1}
        if not clashing:
            return result
        kept = {segment_id: naming for segment_id, naming in kept.items() if segment_id not in clashing}


def _peers(segment_id: str, named: Mapping[str, Naming]) -> list[str]:
    """The other segments of the same kind."""
    kind = named[segment_id].kind
    return [other for other, naming in named.items() if other != segment_id and naming.kind == kind]


@dataclass(frozen=True, slots=True)
class ManualName:
    """A name given by hand to a segment that is gone.

    Attributes
    ----------
    segment_id, name : str
    naming : Naming or None
        The champion's naming of the segment; None if it is not known.
    successors : tuple of str
        The new segments that share most customers with it.
    """

    segment_id: str
    name: str
    naming: Naming | None
    successors: tuple[str, ...]


def inheritors(
    names: Sequence[ManualName], named: Mapping[str, Naming], new_ids: Collection[str]
) -> dict[str, list[str]]:
    """The new segments that could inherit each manual name: segment_id of the name -> their segment_ids, sorted.

    These are the new segments with the archetype, or else the automatic name, of the segment that is gone; without
    any, its successors. A segment that could inherit two names is offered both, so neither name is certain.
    """
    found = {}
    for name in names:
        same_kind = [segment_id for segment_id in new_ids if _is_same_kind(name.naming, named.get(segment_id))]
        found[name.segment_id] = sorted(same_kind or name.successors)
    return found


def _is_same_kind(before: Naming | None, now: Naming | None) -> bool:
    if before is None or now is None:
        return False
    if before.archetype:
        return now.archetype == before.archetype
    return now.names.by_figures == before.names.by_figures


def with_given_names(named: Mapping[str, Naming], given: Mapping[str, str]) -> dict[str, Naming]:
    """Add the names given by hand; the name by figures gets a number where another segment was given that name.

    Parameters
    ----------
    given : mapping
        segment_id -> the name given by hand, in all languages.
    """
    result = dict(named)
    for segment_id, naming in named.items():
        manual = {name for other, name in given.items() if other != segment_id}
        free = {}
        for language, name in naming.names.by_figures.items():
            taken = manual | {other.names.by_figures[language] for other in result.values()}
            numbered = (f"{name} {number}" for number in count(2))
            free[language] = next(text for text in numbered if text not in taken) if name in manual else name
        names = replace(naming.names, by_figures=free).with_given(given.get(segment_id))
        result[segment_id] = replace(naming, names=names)
    return result
