"""Arms whose true scores are known, to see how often intervals and verdicts are wrong."""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, ndtri

from unfreeze.compare.clusters import Clusters
from unfreeze.compare.statistics import RunScores

ROWS, FEATURES = 150, 5
"""Of the cross-validated comparisons."""


def accuracy(sums):
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def entity_f1(sums):
    found = sums[..., 1] + sums[..., 2]
    return 2 * sums[..., 0] / np.where(found > 0, found, 1)


def _normal(random, examples, members):
    """Standard normals; those of one cluster of ``members`` are alike (correlation one half)."""
    alone = random.standard_normal(examples)
    if members == 1:
        return alone
    shared = np.repeat(random.standard_normal(-(-examples // members)), members)[:examples]
    return np.sqrt(0.5) * shared + np.sqrt(0.5) * alone


def arms(random, shares, *, examples=300, seeds=2, noise=0.0, members=1, alike=0.8):
    """Arms whose expected accuracy, over examples and seeds, is exactly ``shares``.

    All find the same examples hard (``alike`` is the correlation); training noise moves a run as a whole (``noise`` is
    its standard deviation) and flips single examples.
    """
    common = _normal(random, examples, members)
    clusters = Clusters(np.arange(examples) // members, "document") if members > 1 else None
    made = []
    for share in shares:
        own = np.sqrt(alike) * common + np.sqrt(1 - alike) * _normal(random, examples, members)
        runs = np.sqrt(0.9) * own + np.sqrt(0.1) * random.standard_normal((seeds, examples))
        right = (runs < ndtri(share + noise * random.standard_normal((seeds, 1)))).astype(float)
        counts = np.stack([right, np.ones_like(right)], axis=2)
        made.append(RunScores(right.mean(axis=1, keepdims=True), counts, 0.25, clusters))
    return made


def tagger(random, *, examples=200, seeds=1, noise=0.0, members=1):
    """A tagger that finds 80 % of 1.5 entities a sentence, and 0.3 that are none: expected F1 0.8, very nearly."""
    gold = random.poisson(1.5, examples)
    hard = ndtr(_normal(random, examples, members))  # of a sentence; uniform
    recall = 0.65 + 0.3 * hard + noise * random.standard_normal((seeds, 1))
    found = random.binomial(gold, np.clip(recall, 0, 1))
    counts = np.stack([found, found + random.poisson(0.3, (seeds, examples)), np.broadcast_to(gold, found.shape)], 2)
    clusters = Clusters(np.arange(examples) // members, "document") if members > 1 else None
    return RunScores(entity_f1(counts.sum(axis=1))[:, None], counts.astype(float), 0.25, clusters)


def _fitted(texts, labels, random):
    """Nearest class mean, a real learner, from a random four fifths of the rows: weights and threshold."""
    seen = random.random(len(labels)) < 0.8
    up, down = texts[seen & labels].mean(axis=0), texts[seen & ~labels].mean(axis=0)
    return up - down, (up - down) @ (up + down) / 2


def _rows(random, number):
    """Rows of two classes half a standard deviation to either side of zero in every feature."""
    labels = random.random(number) < 0.5
    return np.where(labels, 0.5, -0.5)[:, None] + random.standard_normal((number, 2 * FEATURES)), labels


def cross_validated(random, features, *, seeds=1, folds=5):
    """Arms that learn from some features each, cross-validated on the same new rows."""
    texts, labels = _rows(random, ROWS)
    order = random.permutation(ROWS)
    made = []
    for which in features:
        scores, right = np.zeros((seeds, folds)), np.zeros((seeds, ROWS))
        for seed, fold in np.ndindex(seeds, folds):
            held = order[fold::folds]
            train = np.setdiff1d(order, held)
            weights, threshold = _fitted(texts[train][:, which], labels[train], random)
            right[seed, held] = (texts[held][:, which] @ weights > threshold) == labels[held]
            scores[seed, fold] = right[seed, held].mean()
        made.append(RunScores(scores, np.stack([right, np.ones_like(right)], axis=2), 1 / (folds - 1)))
    return made


def true_accuracy(which, *, many=4000, folds=5):
    """The expected accuracy of what four folds teach, over training rows: each model's own is known exactly."""
    random, found = np.random.default_rng(99), []
    for _ in range(many):
        texts, labels = _rows(random, ROWS * (folds - 1) // folds)
        weights, threshold = _fitted(texts[:, which], labels, random)
        size = np.linalg.norm(weights)
        found.append(
            (ndtr((0.5 * weights.sum() - threshold) / size) + ndtr((0.5 * weights.sum() + threshold) / size)) / 2
        )
    return float(np.mean(found))


def times(many, *, seed=0) -> Iterator[np.random.Generator]:
    """A random generator for each repetition, the same ones every time."""
    return (np.random.default_rng([seed, i]) for i in range(many))
