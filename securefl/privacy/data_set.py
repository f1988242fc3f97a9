"""The ledger of one data set: the releases of all runs on it, within one budget for all of them.

    ledger = DataSetLedger(path, "run-7", terms, Ceiling(epsilon=8.0, delta=1e-5))

A run's own terms bound what that run may release. The ceiling bounds all runs together. It is the
policy of the data set's owner, who may change it: every release counts under the new one.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from securefl.errors import LedgerError, PolicyRefused
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import PrivacyEvent, ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.terms import Place, Terms, place_in

# A release without noise: its epsilon is infinite, whatever else there is.
NO_NOISE = SampledGaussian(1.0, 0.0, 1)


class Ceiling(NamedTuple):
    """The most that all runs on a data set may cost together.

    Attributes:
        epsilon: inf allowed.
        delta: in (0, 1).
    """

    epsilon: float
    delta: float


class DataSetLedger(Ledger):
    """A data set's ledger, as one run uses it: the file holds the releases of every run.

    Guarantees, besides those of `Ledger`:
        - A reservation fits the terms of its run, and together with all releases of all runs the
          ceiling.
        - Releases of other runs do not count towards the terms of this one.
        - The first line with noise of another place records the terms of its run, so that `places`
          has the place of every run. The cost of all together holds against those alone whom each
          run's cost holds against.
        - A run that claims no epsilon books its trainings, too. They cost more than any finite
          ceiling.

    Args:
        path: the file; read and checked if it exists.
        run: names the run in release ids.
        terms: of the run.
        ceiling: of the data set.
        before: the spending of earlier runs that this run's terms cover, too. Their releases are in
            this file already.

    Raises:
        LedgerError: the file does not chain, or protects another unit.
    """

    def __init__(
        self, path: Path, run: str, terms: Terms, ceiling: Ceiling, before: Past = NO_PAST
    ) -> None:
        self.ceiling = ceiling
        self._run = run
        self._whole: Counter[PrivacyEvent] = Counter()
        self._places: dict[Place, None] = {}
        super().__init__(path, terms, before)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the runs that have released something added their noise."""
        return tuple(self._places)

    def epsilon_with(self, event: PrivacyEvent, rounds: int) -> float:
        """Returns the cost of all runs together, once this one has released `rounds` events."""
        ahead = Counter({event: max(0, rounds - len(self._booked))})
        return epsilon(self._whole + ahead, delta=self.ceiling.delta)

    def reserve_unclaimed(self, release_id: ReleaseId) -> None:
        """Books a training of a run that claims no epsilon: from now on no finite ceiling holds.

        Raises:
            PolicyRefused: the ceiling is finite.
        """
        self.reserve(NO_NOISE, release_id=release_id)

    def prepare(self, event: PrivacyEvent) -> None:
        """Computes what `reserve` looks up: how long that takes would tell about other runs."""
        self._fits_the_run(event)
        self._fits_the_ceiling(event)

    def reserve(self, event: PrivacyEvent, *, release_id: ReleaseId) -> None:
        """Books an event before anything that depends on the data leaves.

        Raises:
            BudgetExceeded: the run's own budget does not allow one more event.
            LedgerError: release_id was booked with another event.
            PolicyRefused: all runs together would cost more than the ceiling; nothing was written.
        """
        # The run's own budget is refused first: that refusal tells nothing about other runs.
        is_new = release_id not in self and self._fits_the_run(event)
        if is_new and not self._fits_the_ceiling(event):
            raise PolicyRefused(
                f"budget.epsilon = {self.ceiling.epsilon:g} does not allow another training: "
                "all federations on this data set would cost more together"
            )
        super().reserve(event, release_id=release_id)

    def _fits_the_run(self, event: PrivacyEvent) -> bool:
        return self._fits(event, self._events, self.terms.budget, self.terms.delta)

    def _fits_the_ceiling(self, event: PrivacyEvent) -> bool:
        return self._fits(event, self._whole, *self.ceiling)

    @property
    def _records_terms(self) -> bool:
        return super()._records_terms or self.terms.place not in self._places

    def _append(
        self,
        kind: Literal["begin", "reserve", "settle"],
        release_id: ReleaseId | None,
        event: PrivacyEvent | None,
    ) -> None:
        super()._append(kind, release_id, event)
        self._places[self.terms.place] = None

    def _take(self, entry: Mapping[str, Any]) -> None:
        super()._take(entry)
        if entry.get("terms"):
            self._places[place_in(entry["terms"])] = None

    def _book(self, release_id: ReleaseId, event: PrivacyEvent) -> None:
        self._whole[event] += 1
        if release_id.run == self._run:
            super()._book(release_id, event)

    def _check_first(self, entry: Mapping[str, Any]) -> None:
        """Checks the unit alone: budgets and places belong to runs and to the policy."""
        stored = entry.get("terms") or {}
        if (stored.get("unit"), stored.get("neighbours")) != self.terms[:2]:
            raise LedgerError(
                f"the ledger {self._path.name} protects another unit: {entry.get('terms')}"
            )
