"""Which rows count how much: pure arithmetic on squared distances (n, n) in float64, no row is touched."""

import numpy as np

from defenses.kernels.blocks import Numbers

_MOST_COVERS = 500  # compared, where several sets have the least diameter
_MOST_TRIALS = 20_000  # of rows to drop, for one diameter: seconds


def krum_scores(squared: Numbers, neighbours: int) -> Numbers:
    """(n,) sum of each row's squared distances to its nearest neighbours; a row is none of its own."""
    others = squared.copy()
    np.fill_diagonal(others, np.inf)
    scores: Numbers = np.sort(others, axis=1)[:, :neighbours].sum(axis=1)
    return scores


def krum(squared: Numbers, f: int) -> Numbers:
    """One for the row of the least score, the first of equals."""
    weights = np.zeros(len(squared))
    weights[krum_scores(squared, len(squared) - f - 2).argmin()] = 1.0
    return weights


def multi_krum(squared: Numbers, f: int, m: int) -> Numbers:
    """1/m for the m rows of the least scores, the first of equals."""
    return average(
        np.argsort(krum_scores(squared, len(squared) - f - 2), kind="stable")[:m], len(squared)
    )


def bulyan(squared: Numbers, f: int) -> list[int]:
    """The n - 2 f rows that Krum chooses one after another, each time among those that are left."""
    left, chosen = list(range(len(squared))), []
    for _ in range(len(squared) - 2 * f):
        scores = krum_scores(squared[np.ix_(left, left)], max(1, len(left) - f - 2))
        chosen.append(left.pop(int(scores.argmin())))
    return chosen


def nearest(squared: Numbers, kept: int) -> Numbers:
    """(n, n): row i holds 1/kept for the `kept` rows nearest to row i, itself or rows equal to it among them."""
    return np.stack(
        [
            average(order[:kept], len(squared))
            for order in np.argsort(squared, axis=1, kind="stable")
        ]
    )


def minimum_diameter(squared: Numbers, f: int) -> Numbers:
    """1/(n - f) for n - f rows whose largest distance is least; of several such sets, one of little total distance.

    A set of the largest distance t exists if f rows cover all pairs further apart than t; those covers are found by
    taking, for a pair that is not covered, one end or the other.
    """
    n, lengths = len(squared), np.unique(squared)
    low, high = 0, len(lengths) - 1
    while low < high:
        between = (low + high) // 2
        low, high = (
            (low, between) if _covers(squared > lengths[between], f) else (between + 1, high)
        )
    dropped = _covers(squared > lengths[low], f, most=_MOST_COVERS)
    sets = [np.setdiff1d(np.arange(n), list(cover)) for cover in dropped]
    full = [kept[:] if len(kept) == n - f else _thinned(squared, kept, n - f) for kept in sets]
    totals = [squared[np.ix_(kept, kept)].sum() for kept in full]
    return average(full[int(np.argmin(totals))], n)


def _thinned(squared: Numbers, kept: np.ndarray, size: int) -> np.ndarray:
    """The rows that stay when the one furthest from the others in all goes, until there are `size`."""
    while len(kept) > size:
        kept = np.delete(kept, squared[np.ix_(kept, kept)].sum(axis=1).argmax())
    return kept


def _covers(apart: np.ndarray, f: int, *, most: int = 1) -> list[frozenset[int]]:
    """Up to so many sets of at most f rows that hold an end of every pair. Raises ValueError if that takes too long."""
    found: set[frozenset[int]] = set()
    stack: list[frozenset[int]] = [frozenset()]
    for _ in range(_MOST_TRIALS):
        if not stack or len(found) == most:
            return sorted(found, key=sorted)
        taken = stack.pop()
        graph = apart.copy()
        graph[list(taken)] = False
        graph[:, list(taken)] = False
        degrees = graph.sum(axis=1)
        top = int(degrees.argmax())
        if degrees[top] == 0:
            found.add(taken)
            continue
        room = f - len(taken)
        if room == 0 or degrees[top] * room < degrees.sum() / 2:
            continue
        around = frozenset(np.flatnonzero(graph[top]).tolist())
        if len(around) <= room:
            stack.append(taken | around)
        stack.append(taken | {top})
    if found:
        return sorted(found, key=sorted)
    raise ValueError(
        f"mda found no set of n - f rows within {_MOST_TRIALS} trials: use a smaller f, or another rule"
    )


def average(chosen: np.ndarray | list[int], n: int) -> Numbers:
    """(n,): equal weights for the chosen rows."""
    weights = np.zeros(n)
    weights[chosen] = 1.0 / len(chosen)
    return weights


def spectral(gram: Numbers, removed: int) -> Numbers:
    """Equal weights for the rows that stay when, so many times, the one furthest along the first direction goes.

    Args:
        gram: (n, n) scalar products around any point.
        removed: rows that go; around the mean of those that are left, each time anew.
    """
    left = np.arange(len(gram))
    for _ in range(removed):
        own = gram[np.ix_(left, left)]
        values, vectors = np.linalg.eigh(
            own - own.mean(axis=0) - own.mean(axis=1)[:, None] + own.mean()
        )
        left = np.delete(left, (values[-1] * vectors[:, -1] ** 2).argmax())
    return average(left, len(gram))


def weiszfeld(
    gram: Numbers, weights: Numbers, *, smoothing: float, tolerance: float, steps: int
) -> Numbers:
    """Weights of the geometric median: rows by the inverse of their distance to it, again and again.

    Args:
        gram: (n, n) scalar products around a point near the honest rows.
        weights: (n,), to begin with, of sum one.
        smoothing: no distance counts as less than this.
        tolerance: stop at a step that is shorter.
        steps: the most.
    """
    for _ in range(steps):
        across = gram @ weights
        squared = np.maximum(gram.diagonal() - 2 * across + weights @ across, 0.0)
        inverse = 1.0 / np.maximum(np.sqrt(squared), smoothing)
        before, weights = weights, inverse / inverse.sum()
        step = weights - before
        if step @ gram @ step < tolerance**2:
            break
    return weights
