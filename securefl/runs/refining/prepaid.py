"""The ledgers between two versions: they book what the next one releases besides its training.

Training calibrates its noise on top of what its ledgers begin with. A release that is to follow
later, such as the noisy gate's, is therefore booked before training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from securefl.errors import BudgetExceeded
from securefl.privacy.events import PrivacyEvent, ReleaseId
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.terms import Terms

# The numbers under which releases are booked.
GATE, FISHER = 0, 1
_WORDS = {GATE: "a noisy gate", FISHER: "its Fisher information"}


def prepay(
    folder: Path,
    *,
    terms: Terms,
    before: Mapping[int, Past],
    seeded: tuple[str, ...],
    clients: int,
    version: int,
    events: Sequence[tuple[int, PrivacyEvent]] = (),
) -> None:
    """Writes one ledger a client that goes on from the last version's, and books events in it.

    Repeated after a crash it books nothing twice.

    Args:
        folder: of the ledgers.
        terms: of the next version.
        before: client -> everything that it has spent.
        seeded: the earlier runs whose noise came from a seed.
        clients: their number.
        version: the number of the next version.
        events: a number for each release, and its cost.

    Raises:
        BudgetExceeded: an event does not fit some client's budget.
        LedgerError: a ledger is damaged, or goes on from something else.
    """
    for client in range(clients):
        past = before.get(client, NO_PAST)
        marks = tuple(dict.fromkeys([*past.seeded, *seeded]))
        ledger = Ledger(folder / f"{client}.jsonl", terms, past._replace(seeded=marks))
        ledger.begin()
        for number, event in events:
            try:
                ledger.reserve(event, release_id=ReleaseId(name_of(version), client, number, 0))
            except BudgetExceeded:
                raise BudgetExceeded(
                    f"client {client} cannot pay for {_WORDS[number]} with noise multiplier "
                    f"{event.noise_multiplier:g} within epsilon {terms.budget:g}: raise "
                    "privacy.epsilon or the noise"
                ) from None


def name_of(version: int) -> str:
    """Returns the run under which a version books what it releases besides its training."""
    return f"version-{version}"
