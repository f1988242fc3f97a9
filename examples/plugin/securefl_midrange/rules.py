"""The trimmed midrange of each coordinate."""

from torch import Tensor

from securefl.scenario import RuleEntry


def trimmed_midrange(rows: Tensor, *, f: int = 1) -> Tensor:
    """Returns the middle between the smallest and the largest value that f corrupt rows leave.

    Args:
        rows: (n, d), one row a client.
        f: corrupt rows that the rule withstands.

    Returns:
        (d,)
    """
    ordered = rows.sort(dim=0).values
    return (ordered[f] + ordered[-1 - f]) / 2


def _minimum_rows(f: int) -> int:
    return 2 * f + 1


midrange = RuleEntry(trimmed_midrange, minimum_rows=_minimum_rows)
