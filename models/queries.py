"""What a query means: learned where many typed it, and by its text where few did.

The text of a query that is not learned goes to a classifier of learned queries and of the catalogue's names, read as
typed, or as typed on the wrong keyboard where that is more like them. How sure it is, is fitted on queries that it was
not fitted to: those that few customers typed, by what they led to; where they are too few, learned ones held out in
turn. A query of which it is less sure than ``min_confidence`` has no meaning.

Only learned queries are stored. Of the others a model keeps what they say together: how sure it may be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from models.arrays import save_arrays
from models.query_classifier import UNKNOWN, QueryClassifier
from models.query_confidence import Confidence
from models.query_text import WRONG_KEYBOARDS, folded, hashed

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

WAYS = ("learned", "text", "keyboard", "abstained")
LEARNED, TEXT, KEYBOARD, ABSTAINED = range(len(WAYS))
NAME_WEIGHT = 0.3
"""What a name in the catalogue counts, a query after which every search led somewhere being 1."""
ARRAYS = ("probabilities", "name_probabilities", "weights", "intercepts")
FOLDS = 8
MIN_RARE = 200
"""Rare queries below which learned ones say how sure a guess is."""
MIN_LEARNED = 20
"""Learned queries below which nothing can be said of that: all others have no meaning then."""
UNLIKE = 0.5
"""Known share of a text below which it may have been typed on the wrong keyboard ..."""
LIKER = 0.2
"""... if so much more of it is known then."""


@dataclass(frozen=True)
class Meanings:
    """What queries mean.

    Attributes
    ----------
    probabilities : float array of shape (n_queries, n_categories)
        P(category | query); rows sum to at most 1, and to 0 where there is no meaning.
    confidence : float array of shape (n_queries,)
        Chance that the first category is the right one; 0 without a meaning, 1 for learned queries.
    way : int array of shape (n_queries,)
        Place in `WAYS`.
    """

    probabilities: Floats
    confidence: Floats
    way: Ints

    def counts(self) -> dict[str, int]:
        """Queries by way, every way named."""
        return dict(zip(WAYS, np.bincount(self.way, minlength=len(WAYS)).tolist(), strict=True))


@dataclass(frozen=True)
class QueryModel:
    """P(category | query) for every query.

    Attributes
    ----------
    queries : tuple of str
        Learned queries as `features.searches.normalised_query` gives them, sorted.
    probabilities : float array of shape (n_queries, n_categories)
    names : tuple of str
        Parts of the catalogue's paths, folded and sorted.
    name_probabilities : float array of shape (n_names, n_categories)
        Share of the paths with that name that lie in each category.
    weights, intercepts : float arrays of shape (n_used, n_categories) and (n_categories,)
        Of `QueryClassifier`; empty where it was not fitted.
    confidence : Confidence, or None where the classifier was not fitted
    min_confidence : float, 0 to 1
    """

    queries: tuple[str, ...]
    probabilities: Floats
    names: tuple[str, ...]
    name_probabilities: Floats
    weights: Floats
    intercepts: Floats
    confidence: Confidence | None
    min_confidence: float
    _ready: list[QueryClassifier] = field(default_factory=list, repr=False, compare=False)

    def predict(self, queries: Sequence[str]) -> Meanings:
        """What normalised ``queries`` mean."""
        shape = (len(queries), self.probabilities.shape[1])
        found = Meanings(np.zeros(shape), np.zeros(len(queries)), np.full(len(queries), ABSTAINED))
        place = {query: number for number, query in enumerate(self.queries)}
        known = np.array([place.get(query, -1) for query in queries], dtype=np.int64)
        is_known = known >= 0
        found.probabilities[is_known] = self.probabilities[known[is_known]]
        found.confidence[is_known], found.way[is_known] = 1.0, LEARNED
        others = np.flatnonzero(~is_known)
        if self.confidence is None or not len(others):
            return found
        counts, is_other = _read(self.classifier, [queries[row] for row in others.tolist()])
        chances, signs = self.classifier.predict(counts)
        confidence = np.where(signs[:, 1] > UNKNOWN, self.confidence(signs), 0.0)
        is_sure = (confidence >= self.min_confidence) & (confidence > 0)
        sure = others[is_sure]
        # As many of the searches lead nowhere as of learned queries.
        scale = confidence[is_sure] * self.probabilities.sum(axis=1).mean()
        found.probabilities[sure] = scale[:, None] * chances[is_sure]
        found.confidence[sure] = confidence[is_sure]
        found.way[sure] = np.where(is_other[is_sure], KEYBOARD, TEXT)
        return found

    @property
    def classifier(self) -> QueryClassifier:
        """The classifier, made ready when first asked for."""
        if not self._ready:
            counts, labels = _examples(self.queries, self.probabilities, self.names, self.name_probabilities)
            self._ready.append(QueryClassifier.of(counts, labels, self.weights, self.intercepts))
        return self._ready[0]

    def save(self, folder: Path) -> None:
        """Write queries.json and queries.npz: the same bytes for the same content, and no pickle."""
        plain = {"queries": self.queries, "names": self.names, "min_confidence": self.min_confidence}
        (folder / "queries.json").write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
        arrays = {name: getattr(self, name) for name in ARRAYS}
        sure = self.confidence
        if sure is not None:
            arrays |= {"confidence_weights": sure.weights, "knots": sure.knots, "heights": sure.heights}
        save_arrays(folder / "queries.npz", arrays)

    @staticmethod
    def load(folder: Path) -> QueryModel:
        """What `save` wrote."""
        plain = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
        with np.load(folder / "queries.npz", allow_pickle=False) as arrays:
            sure = None
            if "knots" in arrays:
                sure = Confidence(arrays["confidence_weights"], arrays["knots"], arrays["heights"])
            return QueryModel(
                queries=tuple(plain["queries"]),
                names=tuple(plain["names"]),
                confidence=sure,
                min_confidence=plain["min_confidence"],
                **{name: arrays[name] for name in ARRAYS},
            )


def fit_query_model(
    queries: Sequence[str],
    probabilities: Floats,
    paths: Sequence[Sequence[str]],
    path_categories: Ints,
    *,
    min_confidence: float,
    rare: Sequence[str] = (),
    rare_probabilities: Floats | None = None,
    purity: float = 1.0,
) -> QueryModel:
    """A model of learned queries and a catalogue; the same whatever their order.

    Parameters
    ----------
    queries : n distinct normalised queries
    probabilities : float array of shape (n, n_categories)
        P(category | query), rows summing to at most 1.
    paths : sequence of m sequences of str
        Parts of each path of the catalogue, from the root.
    path_categories : int array of shape (m,)
        Category that each path belongs to.
    rare : k distinct normalised queries
        Those that too few customers typed to be learned, and led somewhere: they say how sure a guess is.
    rare_probabilities : float array of shape (k, n_categories), or None where there are none
    purity : float, 0 to 1
        Mean share of the first category in what follows a learned query: clicks go astray after clear ones, too.
    """
    order = sorted(range(len(queries)), key=lambda place: queries[place])
    learned, labels = tuple(queries[place] for place in order), probabilities[order]
    names, name_labels = _names(paths, path_categories, probabilities.shape[1])
    nothing = np.zeros((0, labels.shape[1])), np.zeros(0)
    plain = QueryModel(learned, labels, names, name_labels, *nothing, None, min_confidence)
    if min_confidence >= 1.0 or len(learned) < MIN_LEARNED or not any(map(folded, learned)):
        return plain
    classifier = QueryClassifier.fit(*_examples(learned, labels, names, name_labels))
    if len(rare) >= MIN_RARE and rare_probabilities is not None:
        confidence = _by_rare(classifier, rare, rare_probabilities, purity)
    else:
        confidence = _by_held_out(learned, labels, names, name_labels)
    return replace(plain, weights=classifier.weights, intercepts=classifier.intercepts, confidence=confidence)


def _examples(
    queries: Sequence[str], labels: Floats, names: Sequence[str], name_labels: Floats
) -> tuple[sparse.csr_matrix, Floats]:
    """Hashed counts and soft labels of learned queries, then of names."""
    counts = hashed([*map(folded, queries), *names])
    return counts, np.concatenate([labels, NAME_WEIGHT * name_labels])


def _read(classifier: QueryClassifier, queries: Sequence[str]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Hashed counts, and whether the text was read as typed on another keyboard."""
    texts = [folded(query) for query in queries]
    known = classifier.vectors.known_share(hashed(texts))
    unlike, is_other = np.flatnonzero(known < UNLIKE), np.zeros(len(queries), dtype=bool)
    least = known + LIKER
    for keyboard in WRONG_KEYBOARDS if len(unlike) else ():
        typed = [folded(queries[row].translate(keyboard)) for row in unlike.tolist()]
        for row, text, share in zip(unlike.tolist(), typed, classifier.vectors.known_share(hashed(typed)), strict=True):
            if share > least[row]:
                texts[row], least[row], is_other[row] = text, share, True
    return hashed(texts), is_other


def _by_rare(classifier: QueryClassifier, rare: Sequence[str], led_to: Floats, purity: float) -> Confidence:
    """How sure guesses are of queries that few typed, by what these led to."""
    order = sorted(range(len(rare)), key=lambda place: rare[place])
    counts, _ = _read(classifier, [rare[place] for place in order])
    chances, signs = classifier.predict(counts)
    shares = led_to[order] / np.maximum(led_to[order].sum(axis=1, keepdims=True), 1e-12)
    return Confidence.fit(signs, shares[np.arange(len(order)), chances.argmax(axis=1)], purity)


def _by_held_out(queries: Sequence[str], labels: Floats, names: Sequence[str], name_labels: Floats) -> Confidence:
    """How sure guesses are of learned queries, a fold of them held out at a time."""
    counts, with_names = _examples(queries, labels, names, name_labels)
    fold = np.random.default_rng(0).permutation(len(queries)) % FOLDS
    of_all = np.r_[fold, np.full(len(names), FOLDS)]
    hits, signs = np.zeros(len(queries)), np.zeros((len(queries), 3))
    for number in range(FOLDS):
        others = np.flatnonzero(of_all != number)
        classifier = QueryClassifier.fit(counts[others], with_names[others])
        rows = np.flatnonzero(fold == number)
        chances, signs[rows] = classifier.predict(counts[rows])
        hits[rows] = chances.argmax(axis=1) == labels[rows].argmax(axis=1)
    return Confidence.fit(signs, hits, 1.0)


def _names(paths: Sequence[Sequence[str]], path_categories: Ints, n_categories: int) -> tuple[tuple[str, ...], Floats]:
    """Names of all levels, and for each the share of its paths that lie in each category."""
    pairs = sorted(
        {
            (folded(name), category, tuple(path))
            for path, category in zip(paths, path_categories.tolist(), strict=True)
            for name in path
        }
    )
    names = tuple(dict.fromkeys(name for name, _, _ in pairs if name))
    place = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(names), n_categories))
    for name, category, _ in pairs:
        if name:
            found[place[name], category] += 1.0
    return names, found / np.maximum(found.sum(axis=1, keepdims=True), 1.0)
