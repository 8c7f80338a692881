"""Names segments: archetypes are rules on figures compared with the shop's, and every name is unique.

A name depends on figures only, never on the number of a cluster. Renumbering the clusters therefore changes no name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from features.categories import OTHER, OTHER_PREFIX
from models.archetypes import Archetype, evidence_for, matching_archetype
from models.lifts import Interest
from models.segment_names import Bounds, Evidence, Naming, SegmentNames
from models.traits import TraitRules, distinguish_by_trait

LANGUAGES = ("en", "uk", "ru", "sq")
NAME_TEMPLATES: Mapping[str, tuple[str, str, str, str]] = {
    "interested": ("Interested in {}", "Цікавляться: {}", "Интересуются: {}", "Të interesuar për: {}"),
    "frequent": ("Frequent visitors", "Часті відвідувачі", "Частые посетители", "Vizitorë të shpeshtë"),
    "usual": ("Usual visitors", "Звичайні відвідувачі", "Обычные посетители", "Vizitorë të zakonshëm"),
    "rare": ("Rare visitors", "Нечасті відвідувачі", "Редкие посетители", "Vizitorë të rrallë"),
    "frequent_buyers": ("Frequent buyers", "Часті покупці", "Частые покупатели", "Blerës të shpeshtë"),
    "usual_buyers": ("Usual buyers", "Звичайні покупці", "Обычные покупатели", "Blerës të zakonshëm"),
    "rare_buyers": ("Rare buyers", "Нечасті покупці", "Редкие покупатели", "Blerës të rrallë"),
    "silent": ("Not seen for a while", "Давно не заходили", "Давно не заходили", "Prej kohësh pa vizitë"),
    "mixed": ("Mixed customers", "Різні клієнти", "Разные клиенты", "Klientë të përzier"),
    "rest": ("other {}", "{} (інше)", "{} (прочее)", "{} (të tjera)"),
    "other": ("(other)", "(інше)", "(прочее)", "(të tjera)"),
    "noise": ("In between", "Поза групами", "Вне групп", "Jashtë grupeve"),
    "broad": ("Broad interests", "Широкі інтереси", "Широкие интересы", "Interesa të gjera"),
    "unknown": ("Interests not known", "Інтереси невідомі", "Интересы неизвестны", "Interesa të panjohura"),
}

SILENT_DAYS = 60.0
"""A segment without an archetype may be called silent from this many days since the last event."""
NOISE_ID = "noise"
"""segment_id of customers between the clusters, who always have the same name."""


@dataclass(frozen=True)
class NameRules:
    """How segments are named by their figures.

    Attributes
    ----------
    archetypes : sequence of Archetype
    traits : TraitRules
        Its ``min_contrast`` and ``min_held_share`` also apply to conditions and to words for activity.
    """

    archetypes: Sequence[Archetype]
    traits: TraitRules

    def assign(
        self,
        figures: pd.DataFrame,
        interests: Mapping[str, Sequence[Interest]],
        *,
        members: pd.DataFrame,
        unstable: Collection[str] = (),
    ) -> dict[str, Naming]:
        """A unique name in each language for every segment, its archetype, playbook, what to avoid, and the evidence.

        A condition on a mean must also hold for most customers of the segment. If several segments get the same name,
        the name adds their distinctive interest. If there is none, it adds the trait on which one of them leads all the
        others. Segments still without a trait are then compared among themselves; a trait counts only if no other
        segment of the name clearly exceeds it. As a last resort, the name gets a number. All that a name states is in
        its evidence.

        Parameters
        ----------
        figures : DataFrame
            `segment_figures` of the segments to name, and of "shop".
        interests : mapping
            segment_id -> `top_interests`.
        members : DataFrame, n customers x figures
            `models.segment_metrics.member_figures` of all customers in the segments, by segment_id.
        unstable : collection of str
            segment_ids that rarely reappear in resamples. They get no archetype and no playbook, and a name for their
            activity only.
        """
        ids = list(map(str, figures.index.drop("shop")))
        members_of = {segment_id: members[members.index == segment_id] for segment_id in ids}
        named = {
            segment_id: self._first_name(
                _figures_of(figures, segment_id),
                _figures_of(figures, "shop"),
                [] if segment_id in unstable else interests[segment_id],
                members_of[segment_id],
                is_stable=segment_id not in unstable,
            )
            for segment_id in ids
        }
        if NOISE_ID in named:
            named[NOISE_ID] = Naming(SegmentNames(in_languages("noise")), evidence=named[NOISE_ID].evidence)
        for group in same_name_groups(named):
            named |= _distinguish_by_interest({segment_id: named[segment_id] for segment_id in group}, interests)
        for group in same_name_groups(named):
            named = distinguish_by_trait(named, group, figures, members_of, self.traits)
        for group in same_name_groups(named):
            named |= _distinguish_by_number({segment_id: named[segment_id] for segment_id in group}, figures)
        return named

    def _first_name(
        self,
        own: Mapping[str, float],
        shop: Mapping[str, float],
        interests: Sequence[Interest],
        members: pd.DataFrame,
        *,
        is_stable: bool,
    ) -> Naming:
        """The name of the archetype; without one, of the top interest; without that, of what most customers do."""
        archetype, evidence = matching_archetype(
            *(own, shop, self.archetypes if is_stable else ()),
            members=members,
            min_held_share=self.traits.min_held_share,
        )
        if archetype:
            names = SegmentNames(archetype.name)
            return Naming(names, archetype.id, archetype.playbook, archetype.avoid, evidence)
        if interests:
            names = SegmentNames(in_languages("interested", category_in_languages(interests[0].label)))
            return Naming(names, evidence=(_interest_evidence(interests[0]),))
        return self._name_by_activity(own, shop, members)

    def _name_by_activity(self, own: Mapping[str, float], shop: Mapping[str, float], members: pd.DataFrame) -> Naming:
        """The word for what most customers of a segment do; mixed, if no word fits most of them.

        Orders count instead of visits where the log has no other visits.
        """
        contrast, has_visits = self.traits.min_contrast, not np.isnan(shop["visits_per_customer"])
        figure, kind = ("visits_per_customer", "") if has_visits else ("orders_per_customer", "_buyers")
        candidates = {
            "silent": ("days_since_last_event", Bounds(min=SILENT_DAYS, min_ratio=contrast)),
            f"frequent{kind}": (figure, Bounds(min_ratio=contrast)),
            f"rare{kind}": (figure, Bounds(max_ratio=1.0 / contrast)),
            f"usual{kind}": (figure, Bounds(min_ratio=1.0 / contrast, max_ratio=contrast)),
        }
        for word, (name, bounds) in candidates.items():
            evidence = evidence_for(
                {name: bounds}, own, shop, members=members, min_held_share=self.traits.min_held_share
            )
            if evidence is not None:
                return Naming(SegmentNames(in_languages(word)), evidence=evidence)
        return Naming(SegmentNames(in_languages("mixed")), evidence=(Evidence(figure, own[figure], shop[figure]),))


def _figures_of(figures: pd.DataFrame, segment_id: str) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.T[segment_id].to_dict().items()}


def _interest_evidence(interest: Interest) -> Evidence:
    return Evidence(
        figure=f"interest: {interest.label}",
        value=interest.share,
        shop=interest.share / interest.lift,
        customer_count=interest.customer_count,
    )


def in_languages(word: str, text: str | Mapping[str, str] = "") -> dict[str, str]:
    """A name from `NAME_TEMPLATES` in every language, filled with ``text`` (one for all languages, or one each)."""
    return {
        language: NAME_TEMPLATES[word][index].format(text if isinstance(text, str) else text[language])
        for index, language in enumerate(LANGUAGES)
    }


def category_in_languages(label: str) -> dict[str, str]:
    """A label of `models.lifts.category_labels` in every language; only the remainder of a category is translated.

    Examples
    --------
    >>> category_in_languages("Pets › other Pets")["uk"], category_in_languages("Cats")["uk"]
    ('Pets › Pets (інше)', 'Cats')
    """
    if label == OTHER:
        return in_languages("other")
    match = re.fullmatch(rf"(.* [›>] )?{OTHER_PREFIX}(.+)", label)
    if not match:
        return dict.fromkeys(LANGUAGES, label)
    parent, category = match.groups("")
    return {language: parent + name for language, name in in_languages("rest", category).items()}


def _distinguish_by_interest(
    group: Mapping[str, Naming], interests: Mapping[str, Sequence[Interest]]
) -> dict[str, Naming]:
    """Add to each name of the group the first interest that is no other segment's top interest."""
    result = dict(group)
    for segment_id, naming in group.items():
        taken = {interest.label for other in group if other != segment_id for interest in interests[other][:1]}
        own = next((interest for interest in interests[segment_id] if interest.label not in taken), None)
        if own is not None and own.label not in naming.names.by_figures["en"]:
            names = naming.names.with_addition(" · ", category_in_languages(own.label))
            evidence = (*naming.evidence, _interest_evidence(own))
            result[segment_id] = replace(naming, names=names, evidence=evidence)
    return result


def _distinguish_by_number(group: Mapping[str, Naming], figures: pd.DataFrame) -> dict[str, Naming]:
    """The largest segment keeps a shared name; the others get 2, 3, ... by size, whatever their cluster number."""
    ordered = figures.loc[list(group)].fillna(-1.0).sort_values([*figures.columns], kind="stable")
    by_size = ordered.sort_values("customer_count", ascending=False, kind="stable").index.astype(str)
    numbered = {
        segment_id: replace(group[segment_id], names=group[segment_id].names.with_number(number))
        for number, segment_id in enumerate(by_size[1:], start=2)
    }
    return {**group, **numbered}


def same_name_groups(named: Mapping[str, Naming]) -> list[list[str]]:
    """The segment_ids of each name by figures that several segments have, in order."""
    groups: dict[str, list[str]] = {}
    for segment_id in sorted(named):
        groups.setdefault(named[segment_id].names.by_figures["en"], []).append(segment_id)
    return [group for group in groups.values() if len(group) > 1]
