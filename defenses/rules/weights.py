"""How much each row counts: pure arithmetic on (n, n) matrices in float64; no row is read."""

import numpy as np

from defenses.kernels.protocol import Numbers

# Sets of least diameter that are compared by their total distance.
MAX_COVERS = 500
# Steps of the search for sets of rows to drop, for one diameter: a few seconds.
MAX_COVER_TRIALS = 20_000


def krum_scores(squared: Numbers, neighbours: int) -> Numbers:
    """Returns the (n,) sums of each row's squared distances to its nearest neighbours."""
    to_others = squared.copy()
    # A row is no neighbour of itself.
    np.fill_diagonal(to_others, np.inf)
    nearest = np.sort(to_others, axis=1)[:, :neighbours]
    scores: Numbers = nearest.sum(axis=1)
    return scores


def krum(squared: Numbers, f: int) -> Numbers:
    """Returns weight one for the row of the least score, the first of equals."""
    scores = krum_scores(squared, len(squared) - f - 2)
    weights = np.zeros(len(squared))
    weights[scores.argmin()] = 1.0
    return weights


def multi_krum(squared: Numbers, f: int, m: int) -> Numbers:
    """Returns weight 1/m for the m rows of the least scores, the first of equals."""
    scores = krum_scores(squared, len(squared) - f - 2)
    order = np.argsort(scores, kind="stable")
    return average(order[:m], len(squared))


def bulyan(squared: Numbers, f: int) -> list[int]:
    """Returns the n - 2 f rows that Krum chooses one after another among the remaining ones."""
    remaining = list(range(len(squared)))
    chosen = []
    for _ in range(len(squared) - 2 * f):
        neighbours = max(1, len(remaining) - f - 2)
        scores = krum_scores(squared[np.ix_(remaining, remaining)], neighbours)
        chosen.append(remaining.pop(int(scores.argmin())))
    return chosen


def nearest(squared: Numbers, size: int) -> Numbers:
    """Returns (n, n) weights: row i averages the `size` rows nearest to row i.

    Row i itself, or a row equal to it, is among them.
    """
    orders = np.argsort(squared, axis=1, kind="stable")
    return np.stack([average(order[:size], len(squared)) for order in orders])


def minimum_diameter(squared: Numbers, f: int) -> Numbers:
    """Returns weight 1/(n - f) for n - f rows whose largest distance is least.

    Of several such sets, one of little total distance counts.

    A set of largest distance t exists if f rows cover all pairs further apart than t, so that every
    such pair has an end among these rows. A bisection finds the least t for which a cover exists.

    Raises:
        ValueError: the search for a cover takes too long.
    """
    n = len(squared)
    lengths = np.unique(squared)
    low = 0
    high = len(lengths) - 1
    while low < high:
        between = (low + high) // 2
        if _covers(squared > lengths[between], f):
            high = between
        else:
            low = between + 1
    covers = _covers(squared > lengths[low], f, limit=MAX_COVERS)
    sets = [np.setdiff1d(np.arange(n), list(cover)) for cover in covers]
    # A cover may need fewer than f rows: then further rows go, until n - f remain.
    sets = [_thinned(squared, rows, n - f) for rows in sets]
    totals = [squared[np.ix_(rows, rows)].sum() for rows in sets]
    return average(sets[int(np.argmin(totals))], n)


def _thinned(squared: Numbers, rows: np.ndarray, size: int) -> np.ndarray:
    """Removes the row furthest from the others in all, again and again, until `size` remain."""
    while len(rows) > size:
        totals = squared[np.ix_(rows, rows)].sum(axis=1)
        rows = np.delete(rows, totals.argmax())
    return rows


def _covers(apart: np.ndarray, f: int, *, limit: int = 1) -> list[frozenset[int]]:
    """Returns up to `limit` sets of at most f rows that hold an end of every pair.

    Args:
        apart: (n, n), True for each pair that needs an end in the set.
        f: most rows in a set.
        limit: most sets returned.

    Raises:
        ValueError: no set turned up within MAX_COVER_TRIALS steps.
    """
    covers: set[frozenset[int]] = set()
    stack: list[frozenset[int]] = [frozenset()]
    for _ in range(MAX_COVER_TRIALS):
        if not stack or len(covers) == limit:
            return sorted(covers, key=sorted)
        taken = stack.pop()
        uncovered = _without(apart, taken)
        if uncovered.any():
            stack += _branches(uncovered, taken, f - len(taken))
        else:
            covers.add(taken)
    if covers:
        return sorted(covers, key=sorted)
    raise ValueError(
        f"mda found no set of n - f rows within {MAX_COVER_TRIALS} trials:"
        " use a smaller f, or another rule"
    )


def _without(apart: np.ndarray, taken: frozenset[int]) -> np.ndarray:
    """Returns the pairs that none of the taken rows covers."""
    uncovered = apart.copy()
    uncovered[list(taken)] = False
    uncovered[:, list(taken)] = False
    return uncovered


def _branches(uncovered: np.ndarray, taken: frozenset[int], room: int) -> list[frozenset[int]]:
    """Returns larger sets to try, the most promising last.

    A cover holds the row with the most uncovered pairs, or else all partners of that row.
    """
    degrees = uncovered.sum(axis=1)
    top = int(degrees.argmax())
    # No row covers more pairs than the top one, so `room` rows cannot cover them all.
    if room == 0 or degrees[top] * room < degrees.sum() / 2:
        return []
    branches = []
    partners = frozenset(np.flatnonzero(uncovered[top]).tolist())
    if len(partners) <= room:
        branches.append(taken | partners)
    branches.append(taken | {top})
    return branches


def average(chosen: np.ndarray | list[int], n: int) -> Numbers:
    """Returns (n,) weights, equal for the chosen rows and zero for the others."""
    weights = np.zeros(n)
    weights[chosen] = 1.0 / len(chosen)
    return weights


def spectral(gram: Numbers, removed: int, *, at_once: bool = False) -> Numbers:
    """Returns equal weights for the rows that stay when those along one direction go.

    Each time, the row furthest along the first principal direction of the remaining rows goes.

    Args:
        gram: (n, n) scalar products around any point. A number added to a whole line or column
            changes nothing, so -1/2 times squared distances serve as well.
        removed: number of rows that go.
        at_once: all of them go along the first direction of all rows, the first of equals.
    """
    if at_once:
        order = np.argsort(-_along_widest(gram), kind="stable")
        return average(np.sort(order[removed:]), len(gram))
    remaining = np.arange(len(gram))
    for _ in range(removed):
        squared_shares = _along_widest(gram[np.ix_(remaining, remaining)])
        remaining = np.delete(remaining, squared_shares.argmax())
    return average(remaining, len(gram))


def _along_widest(products: Numbers) -> Numbers:
    """Returns the rows' squared lengths (n,) along their first principal direction."""
    # Around the mean of these rows: else a row that went would still pull the origin.
    centred = (
        products
        - products.mean(axis=0)
        - products.mean(axis=1)[:, None]
        + products.mean()
    )  # fmt: skip
    values, vectors = np.linalg.eigh(centred)
    # eigh sorts ascending: the last eigenvector is the widest direction.
    squared_shares: Numbers = values[-1] * vectors[:, -1] ** 2
    return squared_shares


def weiszfeld(
    gram: Numbers,
    weights: Numbers,
    *,
    smoothing: float,
    tolerance: float,
    steps: int,
) -> Numbers:
    """Returns the weights of the geometric median, by Weiszfeld's steps.

    Each step weighs a row by the inverse of its distance to the current median.

    Args:
        gram: (n, n) scalar products around a point near the honest rows.
        weights: (n,), of sum one, to start with.
        smoothing: no distance counts as less than this.
        tolerance: the steps end at one shorter than this.
        steps: largest number of steps.
    """
    for _ in range(steps):
        across = gram @ weights
        # |row - median|^2, with the median itself a weighted sum of rows.
        squared = gram.diagonal() - 2 * across + weights @ across
        # Cancellation can leave a distance of zero slightly negative.
        distances = np.sqrt(np.maximum(squared, 0.0))
        inverse = 1.0 / np.maximum(distances, smoothing)
        moved = inverse / inverse.sum()
        step = moved - weights
        weights = moved
        if step @ gram @ step < tolerance**2:
            break
    return weights
