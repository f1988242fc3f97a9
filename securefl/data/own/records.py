"""Records that are not ours: the values that every source of a user's own data returns."""

from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Protocol

from torch import Tensor

from securefl.data.task import Examples, Task


class Split(NamedTuple):
    """The records of one split.

    Attributes:
        examples: n records.
        sites: (n,) int64, index into the source's site names; None where records bear no site.
        groups: of each record, for example its patient; None where records bear none. One group may
            have records at several sites.
    """

    examples: Examples
    sites: Tensor | None
    groups: tuple[bytes, ...] | None


@dataclass(frozen=True)
class Records:
    """Everything that a source holds.

    Args:
        task: what is predicted from what.
        sites: names of the sites, in order; empty where records bear no site.
        train: training records; test records are drawn from them where `test` is None.
        validation: records for choosing learning rates and the like.
        test: records that judge.
    """

    task: Task
    sites: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split | None


class Source(Protocol):
    """A place that somebody's own records are read from."""

    @property
    def task(self) -> Task:
        """The task, from what is declared; else derived from the records, without a claim.

        Raises:
            DataError: the source is missing or damaged.
        """
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites of partition "natural", in order; empty where records bear none."""
        ...

    @property
    def has_test(self) -> bool:
        """Whether there is a place for test records, though it may hold none."""
        ...

    @property
    def grouped(self) -> bool:
        """Whether records bear groups, such as patients; read from no record."""
        ...

    def require_declared(self) -> None:
        """Raises ScenarioError where a DP claim would rest on what only the records say."""
        ...

    def read(self, *, claim: bool) -> Records:
        """Returns all records.

        Args:
            claim: whether the run claims DP. Then a bad record is cleaned or dropped by itself, and
                nothing is refused for what is in a record; else it is refused, with its place.

        Raises:
            DataError: the source is missing or damaged, or, without a claim, a record is bad.
            ScenarioError: a constant that a claim rests on is not declared.
        """
        ...

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of the content, 32 hexadecimal digits.

        The path is not part of the digest. Without the key nobody can confirm a guessed record.
        """
        ...


def selected(split: Split, chosen: Tensor) -> Split:
    """Returns the chosen records of a split, in their order.

    Args:
        split: n records.
        chosen: (n,) bool.
    """
    examples = Examples(split.examples.features[chosen], split.examples.labels[chosen])
    sites = None if split.sites is None else split.sites[chosen]
    groups = None if split.groups is None else tuple(compress(split.groups, chosen.tolist()))
    return Split(examples, sites, groups)
