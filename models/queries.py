"""Assign categories to search queries: frequent queries are learned from clicks, rare ones are classified by text.

The text classifier is trained on learned queries and on category names of the catalogue. If a text does not resemble
them, it is also read as typed on the wrong keyboard. The confidence of the classifier is calibrated on queries outside
its training set: rare queries with known outcomes or, if there are too few, held-out learned queries. A query with a
confidence below ``min_confidence`` gets no category.

Privacy: only learned queries are stored. Rare queries enter the model only through the confidence calibration.
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
"""Weight of a catalogue name. A query whose every search was followed by a click has weight 1."""
ARRAYS = ("probabilities", "name_probabilities", "weights", "intercepts")
FOLDS = 8
MIN_RARE = 200
"""With fewer rare queries, the confidence is calibrated on held-out learned queries."""
MIN_LEARNED = 20
"""With fewer learned queries, no classifier is fitted and other queries get no category."""
MAX_KNOWN_SHARE = 0.5
"""Other keyboards are tried for a text if less than this share of it is known ..."""
MIN_KNOWN_GAIN = 0.2
"""... and used if the known share rises by more than this."""


@dataclass(frozen=True)
class Meanings:
    """Categories of queries.

    Attributes
    ----------
    probabilities : float array of shape (n_queries, n_categories)
        P(category | query); rows sum to at most 1, and to 0 without a category.
    confidence : float array of shape (n_queries,)
        Probability that the top category is right; 0 without a category, 1 for learned queries.
    way : int array of shape (n_queries,)
        Index into `WAYS`: how the category was found.
    """

    probabilities: Floats
    confidence: Floats
    way: Ints

    def counts(self) -> dict[str, int]:
        """Number of queries per way; all ways are present."""
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
        Category names of all levels of the catalogue, folded and sorted.
    name_probabilities : float array of shape (n_names, n_categories)
        For each name, the share of its paths that lie in each category.
    weights, intercepts : float arrays of shape (n_used, n_categories) and (n_categories,)
        Parameters of `QueryClassifier`; empty if it was not fitted.
    confidence : Confidence, or None if the classifier was not fitted
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
    _classifiers: list[QueryClassifier] = field(default_factory=list, repr=False, compare=False)

    def predict(self, queries: Sequence[str]) -> Meanings:
        """Categories of normalised ``queries``."""
        shape = (len(queries), self.probabilities.shape[1])
        meanings = Meanings(np.zeros(shape), np.zeros(len(queries)), np.full(len(queries), ABSTAINED))
        index = {query: row for row, query in enumerate(self.queries)}
        known = np.array([index.get(query, -1) for query in queries], dtype=np.int64)
        is_known = known >= 0
        meanings.probabilities[is_known] = self.probabilities[known[is_known]]
        meanings.confidence[is_known], meanings.way[is_known] = 1.0, LEARNED
        others = np.flatnonzero(~is_known)
        if self.confidence is None or not len(others):
            return meanings
        counts, is_retyped = _hash_as_typed(self.classifier, [queries[row] for row in others.tolist()])
        chances, indicators = self.classifier.predict(counts)
        confidence = np.where(indicators[:, 1] > UNKNOWN, self.confidence(indicators), 0.0)
        is_confident = (confidence >= self.min_confidence) & (confidence > 0)
        confident = others[is_confident]
        # Assume the same share of searches without a click as for learned queries.
        scale = confidence[is_confident] * self.probabilities.sum(axis=1).mean()
        meanings.probabilities[confident] = scale[:, None] * chances[is_confident]
        meanings.confidence[confident] = confidence[is_confident]
        meanings.way[confident] = np.where(is_retyped[is_confident], KEYBOARD, TEXT)
        return meanings

    @property
    def classifier(self) -> QueryClassifier:
        """The classifier, built on first use."""
        if not self._classifiers:
            counts, labels = _examples(self.queries, self.probabilities, self.names, self.name_probabilities)
            self._classifiers.append(QueryClassifier.of(counts, labels, self.weights, self.intercepts))
        return self._classifiers[0]

    def save(self, folder: Path) -> None:
        """Write queries.json and queries.npz: the same bytes for the same content, without pickle."""
        settings = {"queries": self.queries, "names": self.names, "min_confidence": self.min_confidence}
        (folder / "queries.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        arrays = {name: getattr(self, name) for name in ARRAYS}
        confidence = self.confidence
        if confidence is not None:
            arrays |= {"confidence_weights": confidence.weights}
            arrays |= {"knots": confidence.knots, "heights": confidence.heights}
        save_arrays(folder / "queries.npz", arrays)

    @staticmethod
    def load(folder: Path) -> QueryModel:
        """Read a model that `save` wrote."""
        settings = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
        with np.load(folder / "queries.npz", allow_pickle=False) as arrays:
            confidence = None
            if "knots" in arrays:
                confidence = Confidence(arrays["confidence_weights"], arrays["knots"], arrays["heights"])
            return QueryModel(
                queries=tuple(settings["queries"]),
                names=tuple(settings["names"]),
                confidence=confidence,
                min_confidence=settings["min_confidence"],
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
    """Fit a model on learned queries and the catalogue. The result does not depend on their order.

    Parameters
    ----------
    queries : n distinct normalised queries
    probabilities : float array of shape (n, n_categories)
        P(category | query), rows summing to at most 1.
    paths : sequence of m sequences of str
        Category names along each path of the catalogue, from the root.
    path_categories : int array of shape (m,)
        Category of each path.
    rare : k distinct normalised queries
        Queries typed by too few customers to be learned, but followed by clicks: they calibrate the confidence.
    rare_probabilities : float array of shape (k, n_categories), or None without rare queries
    purity : float, 0 to 1
        Mean share of the top category in the clicks after a learned query. Some clicks go elsewhere even then.
    """
    order = sorted(range(len(queries)), key=lambda row: queries[row])
    learned, labels = tuple(queries[row] for row in order), probabilities[order]
    names, name_labels = _names(paths, path_categories, probabilities.shape[1])
    no_parameters = np.zeros((0, labels.shape[1])), np.zeros(0)
    learned_only = QueryModel(learned, labels, names, name_labels, *no_parameters, None, min_confidence)
    if min_confidence >= 1.0 or len(learned) < MIN_LEARNED or not any(map(folded, learned)):
        return learned_only
    classifier = QueryClassifier.fit(*_examples(learned, labels, names, name_labels))
    if len(rare) >= MIN_RARE and rare_probabilities is not None:
        confidence = _confidence_from_rare(classifier, rare, rare_probabilities, purity)
    else:
        confidence = _confidence_from_held_out(learned, labels, names, name_labels)
    return replace(learned_only, weights=classifier.weights, intercepts=classifier.intercepts, confidence=confidence)


def _examples(
    queries: Sequence[str], labels: Floats, names: Sequence[str], name_labels: Floats
) -> tuple[sparse.csr_matrix, Floats]:
    """Hashed counts and soft labels of the learned queries, followed by those of the catalogue names."""
    counts = hashed([*map(folded, queries), *names])
    return counts, np.concatenate([labels, NAME_WEIGHT * name_labels])


def _hash_as_typed(classifier: QueryClassifier, queries: Sequence[str]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Hashed counts, and whether each text was read as typed on the wrong keyboard."""
    counts = hashed([folded(query) for query in queries])
    known = classifier.vectors.known_share(counts)
    unknown, least = np.flatnonzero(known < MAX_KNOWN_SHARE), known + MIN_KNOWN_GAIN
    texts: dict[int, str] = {}
    for keyboard in WRONG_KEYBOARDS if len(unknown) else ():
        retyped = [folded(queries[row].translate(keyboard)) for row in unknown.tolist()]
        shares = classifier.vectors.known_share(hashed(retyped))
        for row, text, share in zip(unknown.tolist(), retyped, shares, strict=True):
            if share > least[row]:
                texts[row], least[row] = text, share
    place = np.arange(len(queries))
    place[list(texts)] = len(queries) + np.arange(len(texts))
    is_retyped = place >= len(queries)
    return sparse.vstack([counts, hashed(list(texts.values()))], format="csr")[place] if texts else counts, is_retyped


def _confidence_from_rare(
    classifier: QueryClassifier, rare: Sequence[str], led_to: Floats, purity: float
) -> Confidence:
    """Calibrate the confidence on rare queries, by the categories they led to."""
    order = sorted(range(len(rare)), key=lambda row: rare[row])
    counts, _ = _hash_as_typed(classifier, [rare[row] for row in order])
    chances, indicators = classifier.predict(counts)
    shares = led_to[order] / np.maximum(led_to[order].sum(axis=1, keepdims=True), 1e-12)
    return Confidence.fit(indicators, shares[np.arange(len(order)), chances.argmax(axis=1)], purity)


def _confidence_from_held_out(
    queries: Sequence[str], labels: Floats, names: Sequence[str], name_labels: Floats
) -> Confidence:
    """Calibrate the confidence by cross-validation on learned queries."""
    counts, with_names = _examples(queries, labels, names, name_labels)
    fold = np.random.default_rng(0).permutation(len(queries)) % FOLDS
    all_folds = np.r_[fold, np.full(len(names), FOLDS)]
    hits, indicators = np.zeros(len(queries)), np.zeros((len(queries), 3))
    for number in range(FOLDS):
        others = np.flatnonzero(all_folds != number)
        classifier = QueryClassifier.fit(counts[others], with_names[others])
        rows = np.flatnonzero(fold == number)
        chances, indicators[rows] = classifier.predict(counts[rows])
        hits[rows] = chances.argmax(axis=1) == labels[rows].argmax(axis=1)
    return Confidence.fit(indicators, hits, 1.0)


def _names(paths: Sequence[Sequence[str]], path_categories: Ints, n_categories: int) -> tuple[tuple[str, ...], Floats]:
    """Category names of all levels and, for each, the share of its paths that lie in each category."""
    pairs = sorted(
        {
            (folded(name), category, tuple(path))
            for path, category in zip(paths, path_categories.tolist(), strict=True)
            for name in path
        }
    )
    names = tuple(dict.fromkeys(name for name, _, _ in pairs if name))
    index = {name: row for row, name in enumerate(names)}
    path_counts = np.zeros((len(names), n_categories))
    for name, category, _ in pairs:
        if name:
            path_counts[index[name], category] += 1.0
    return names, path_counts / np.maximum(path_counts.sum(axis=1, keepdims=True), 1.0)
