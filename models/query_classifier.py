"""P(category | text): multinomial logistic regression on n-grams, pooled with votes of similar training texts.

The regression weighs each n-gram across all texts. The votes, weighted by cosine similarity, compare whole texts, so a
mistyped text gets the category of the text it resembles. Both use soft labels. They are pooled by the normalised
geometric mean.
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
"""Exponent of the cosine: how much more weight a similar text has than a distant one."""
MIN_COSINE = 0.1
MIN_VOTE = 1e-3
"""Share of the votes that a category without votes has in the pool."""
UNKNOWN = float(np.log(1e-3))
"""Value of a confidence indicator if no training text is similar, or no part of the text is known."""
BATCH = 1_000


@dataclass(frozen=True)
class QueryClassifier:
    """A classifier fitted on texts with known categories.

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
        """Fit on texts with these hashed counts, (n, m), and soft labels, (n, n_categories)."""
        vectors = TextVectors.fit(counts)
        texts = vectors.transform(counts)
        return QueryClassifier(vectors, texts, labels, *_regression(texts, _sharpened(labels)))

    @staticmethod
    def of(counts: sparse.csr_matrix, labels: Floats, weights: Floats, intercepts: Floats) -> QueryClassifier:
        """Rebuild the classifier that `fit` returned for the same counts and labels."""
        vectors = TextVectors.fit(counts)
        return QueryClassifier(vectors, vectors.transform(counts), labels, weights, intercepts)

    def predict(self, counts: sparse.csr_matrix) -> tuple[Floats, Floats]:
        """P(category | text), shape (n, n_categories), and indicators of confidence, shape (n, 3).

        The indicators are the log odds of the top category, the log cosine of the nearest text, and the log of the
        share of the text that consists of known n-grams.
        """
        parts = [self._predict(counts[place : place + BATCH]) for place in range(0, counts.shape[0], BATCH)]
        return np.concatenate([chances for chances, _ in parts]), np.concatenate(
            [indicators for _, indicators in parts]
        )

    def _predict(self, counts: sparse.csr_matrix) -> tuple[Floats, Floats]:
        vectors = self.vectors.transform(counts)
        cosine = (vectors @ self.texts.T).tocsr()
        nearest = cosine.max(axis=1).toarray().ravel()
        cosine.data[cosine.data < MIN_COSINE] = 0.0
        cosine.eliminate_zeros()
        by_ngrams = log_softmax(vectors @ self.weights + self.intercepts, axis=1)
        by_texts = cosine.power(SHARPNESS) @ self.labels + 1e-12
        by_texts /= by_texts.sum(axis=1, keepdims=True)
        chances = softmax(0.5 * by_ngrams + 0.5 * np.log(by_texts + MIN_VOTE), axis=1)
        first = np.clip(chances.max(axis=1), 1e-6, 1.0 - 1e-6)
        known = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        logs = np.maximum(np.log(np.maximum(np.column_stack([nearest, known]), 1e-9)), UNKNOWN)
        return chances, np.column_stack([np.log(first / (1.0 - first)), logs])


def _sharpened(labels: Floats) -> Floats:
    """Squared labels, rescaled to their original sums: this reduces the weight of stray clicks."""
    square = labels**2
    total = square.sum(axis=1, keepdims=True)
    return np.divide(square * labels.sum(axis=1, keepdims=True), total, out=np.zeros_like(square), where=total > 0)


def _regression(texts: sparse.csr_matrix, labels: Floats) -> tuple[Floats, Floats]:
    """Weights and intercepts by penalised maximum likelihood of the soft labels."""
    labels = labels * (len(labels) / labels.sum())
    label_weight, shape = labels.sum(axis=1), (texts.shape[1], labels.shape[1])
    transposed = texts.T.tocsr()

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights, intercepts = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
        scores = texts @ weights + intercepts
        total = logsumexp(scores, axis=1)
        residual = np.exp(scores - total[:, None]) * label_weight[:, None] - labels
        gradient = transposed @ residual + weights / INVERSE_PENALTY
        penalty = 0.5 * float((weights * weights).sum()) / INVERSE_PENALTY
        value = float((label_weight * total).sum() - (labels * scores).sum()) + penalty
        return value, np.concatenate([gradient.ravel(), residual.sum(axis=0)])

    start = np.zeros((shape[0] + 1) * shape[1])
    with threadpool_limits(limits=1):  # multi-threaded sums are not reproducible
        solution = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS, "maxcor": 5}).x
    return solution[: -shape[1]].reshape(shape).astype(np.float32), solution[-shape[1] :]
