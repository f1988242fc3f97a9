"""The ledgers of a run, and where a run starts that goes on from another."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.ledger import Ledger, Terms
from securefl.privacy.past import NO_PAST, Past
from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Origin:
    """Where a run starts: weights (d,), what each client had spent on them, and which runs had noise from a seed."""

    weights: Tensor
    spent: dict[int, Past]
    seeded: tuple[str, ...] = ()

    def epsilon(self, delta: float) -> float:
        """What the client that is worst off had spent."""
        return max(
            (epsilon(dict(before.events), delta=delta) for before in self.spent.values()),
            default=0.0,
        )

    def before(self, client: int) -> Past:
        """What the client's ledger continues. One that never spent anything bears the mark of seeded noise as well."""
        return self.spent.get(client, NO_PAST)._replace(seeded=self.seeded)


def open_ledgers(
    scenario: Scenario, folder: Path, origin: Origin | None = None
) -> dict[int, Ledger]:
    """One ledger a client where a finite epsilon is claimed; none otherwise. They go on from those of origin."""
    if (privacy := scenario.privacy) is None or not scenario.claims_dp:
        return {}
    terms = Terms("example", "add_remove", privacy.delta, privacy.epsilon, privacy.noise)
    return {
        index: Ledger(
            folder / f"{index}.jsonl", terms, NO_PAST if origin is None else origin.before(index)
        )
        for index in range(scenario.clients)
    }
