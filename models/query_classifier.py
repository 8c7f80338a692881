"""P(category | text): multinomial logistic regression of a text's pieces, pooled with the votes of texts like it.

The regression says what each piece speaks for where texts share many; the votes, by the cosine, keep whole texts in
mind, so that a slip of the keyboard means what the text means. Both are learned from soft labels, and their pool is the
normalised geometric mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax
from threadpoolctl import threadpool_limits

from models.query_text import TextVectors

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats

INVERSE_PENALTY = 30.0
MAX_STEPS = 50
SHARPNESS = 6.0
"""Power of the cosine: how much more a near text says than a distant one."""
LEAST_COSINE = 0.1
LEAST_VOTE = 1e-3
"""Share of the votes that a category without any has in the pool."""
UNKNOWN = float(np.log(1e-3))
"""Sign of a text that is like none, or of which nothing is known."""
BATCH = 1_000


@dataclass(frozen=True)
class QueryClassifier:
    """Fitted to texts with known meaning.

    Attributes
    ----------
    vectors : TextVectors
    texts : sparse array of shape (n_texts, n_used)
    labels : float array of shape (n_texts, n_categories)
        Soft labels; rows sum to at most 1.
    weights : float array of shape (n_used, n_categories)
    intercepts : float array of shape (n_categories,)
    """

    vectors: TextVectors
    texts: sparse.csr_matrix
    labels: Floats
    weights: Floats
    intercepts: Floats

    @staticmethod
    def fit(counts: sparse.csr_matrix, labels: Floats) -> QueryClassifier:
        """A classifier of texts with these hashed counts, (n, m), and soft labels, (n, n_categories)."""
        vectors = TextVectors.fit(counts)
        texts = vectors.transform(counts)
        return QueryClassifier(vectors, texts, labels, *_regression(texts, _sharpened(labels)))

    @staticmethod
    def of(counts: sparse.csr_matrix, labels: Floats, weights: Floats, intercepts: Floats) -> QueryClassifier:
        """What `fit` gave for the same counts and labels."""
        vectors = TextVectors.fit(counts)
        return QueryClassifier(vectors, vectors.transform(counts), labels, weights, intercepts)

    def predict(self, counts: sparse.csr_matrix) -> tuple[Floats, Floats]:
        """P(category | text) of shape (n, n_categories), and signs of how sure it is, of shape (n, 3).

        The signs: log odds of the first category; logarithms of the cosine of the nearest text, and of the share of the
        text that is of known pieces.
        """
        parts = [self._predict(counts[place : place + BATCH]) for place in range(0, counts.shape[0], BATCH)]
        return np.concatenate([chances for chances, _ in parts]), np.concatenate([signs for _, signs in parts])

    def _predict(self, counts: sparse.csr_matrix) -> tuple[Floats, Floats]:
        vectors = self.vectors.transform(counts)
        cosine = (vectors @ self.texts.T).tocsr()
        nearest = cosine.max(axis=1).toarray().ravel()
        cosine.data[cosine.data < LEAST_COSINE] = 0.0
        cosine.eliminate_zeros()
        by_pieces = log_softmax(vectors @ self.weights + self.intercepts, axis=1)
        by_texts = cosine.power(SHARPNESS) @ self.labels + 1e-12
        by_texts /= by_texts.sum(axis=1, keepdims=True)
        chances = softmax(0.5 * by_pieces + 0.5 * np.log(by_texts + LEAST_VOTE), axis=1)
        first = np.clip(chances.max(axis=1), 1e-6, 1.0 - 1e-6)
        known = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        logs = np.maximum(np.log(np.maximum(np.column_stack([nearest, known]), 1e-9)), UNKNOWN)
        return chances, np.column_stack([np.log(first / (1.0 - first)), logs])


def _sharpened(labels: Floats) -> Floats:
    """Labels squared, with the sums that they had: clicks gone astray say little."""
    square = labels**2
    total = square.sum(axis=1, keepdims=True)
    return np.divide(square * labels.sum(axis=1, keepdims=True), total, out=np.zeros_like(square), where=total > 0)


def _regression(texts: sparse.csr_matrix, labels: Floats) -> tuple[Floats, Floats]:
    """Weights and intercepts that make the soft labels likeliest, the weights kept small."""
    labels = labels * (len(labels) / labels.sum())
    voice, shape = labels.sum(axis=1), (texts.shape[1], labels.shape[1])
    turned = texts.T.tocsr()

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights, intercepts = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
        scores = texts @ weights + intercepts
        total = logsumexp(scores, axis=1)
        off = np.exp(scores - total[:, None]) * voice[:, None] - labels
        slope = turned @ off + weights / INVERSE_PENALTY
        penalty = 0.5 * float((weights * weights).sum()) / INVERSE_PENALTY
        value = float((voice * total).sum() - (labels * scores).sum()) + penalty
        return value, np.concatenate([slope.ravel(), off.sum(axis=0)])

    start = np.zeros((shape[0] + 1) * shape[1])
    with threadpool_limits(limits=1):  # sums of many threads are not the same twice
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS, "maxcor": 5}).x
    return found[: -shape[1]].reshape(shape).astype(np.float32), found[-shape[1] :]
