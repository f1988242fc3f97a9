"""What is written down about a round; it needs no torch, so that who only reads a folder need not wait."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RoundRecord:
    """Everything that is written down about one round; `reason` is empty unless it was abandoned.

    `push` is how far the corrupt clients' rows are from the mean of the rows that the adversary knows, on average, in
    root mean square distances of those from it; None without an attack, where these are equal, and where they are its
    own and sent as they are. `distrusted` are the clients whose rows got less than a tenth of an equal share from a
    rule that weighs rows; None without an attack, or where the rule gives no weights.
    """

    round: int
    abandoned: bool
    reason: str
    cohort: tuple[int, ...]
    survivors: tuple[int, ...]
    absent: Mapping[int, str]
    screened: tuple[int, ...]
    rejected: int
    bytes_up: int
    bytes_down: int
    accuracy: float | None
    ledger_heads: Mapping[int, str]
    seconds: float
    push: float | None = None
    distrusted: tuple[int, ...] | None = None
