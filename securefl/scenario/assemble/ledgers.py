"""The ledgers of a run, and the end of an earlier run that it goes on from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.terms import Place, Terms, place_called
from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Origin:
    """The end of an earlier run, from which another starts.

    Attributes:
        weights: (d,), of its model.
        spent: client -> what it had spent on that model.
        seeded: the earlier runs whose noise came from a seed.
    """

    weights: Tensor
    spent: dict[int, Past]
    seeded: tuple[str, ...] = ()

    def epsilon(self, delta: float) -> float:
        """Returns the largest epsilon that a client had spent."""
        spent = [epsilon(dict(before.events), delta=delta) for before in self.spent.values()]
        return max(spent, default=0.0)

    def pasts(self, clients: int) -> list[Past]:
        """Returns what the ledger of each client continues."""
        return [self.before(client) for client in range(clients)]

    def before(self, client: int) -> Past:
        """Returns what the client's ledger continues.

        The mark of seeded noise goes to clients that spent nothing, too: the model they start from
        has it.
        """
        return self.spent.get(client, NO_PAST)._replace(seeded=self.seeded)


def open_ledgers(
    scenario: Scenario, folder: Path, origin: Origin | None = None
) -> dict[int, Ledger]:
    """Opens one ledger a client where a finite epsilon is claimed, and none otherwise.

    Args:
        scenario: declares the claim.
        folder: holds the ledgers; files that exist are read and continued.
        origin: the run whose ledgers these go on from.

    Raises:
        LedgerError: a ledger is damaged or was kept under other terms.
    """
    ledgers = {}
    # A file for each client, as every hospital keeps its own.
    for client in range(scenario.clients):
        before = NO_PAST if origin is None else origin.before(client)
        ledger = open_ledger(scenario, folder / f"{client}.jsonl", before)
        if ledger is not None:
            ledgers[client] = ledger
    return ledgers


def open_ledger(scenario: Scenario, path: Path, before: Past = NO_PAST) -> Ledger | None:
    """Opens the ledger of one client; None where no finite epsilon is claimed.

    Args:
        scenario: declares the claim.
        path: of the ledger; a file that exists is read and continued.
        before: what the ledger goes on from.

    Raises:
        LedgerError: the ledger is damaged or was kept under other terms.
    """
    terms = terms_of(scenario)
    return None if terms is None else Ledger(path, terms, before)


def terms_of(scenario: Scenario) -> Terms | None:
    """Returns the terms of every client's ledger; None where no finite epsilon is claimed."""
    privacy = scenario.privacy
    if privacy is None or not scenario.claims_dp:
        return None
    unit: Literal["example", "client"] = "example"
    neighbours: Literal["add_remove", "replace_one"] = "add_remove"
    if scenario.protects_clients:
        unit = "client"
        neighbours = "add_remove" if scenario.tosses_coins else "replace_one"
    place = place_of(scenario)
    return Terms(unit, neighbours, privacy.delta, privacy.epsilon, privacy.noise, place)


def place_of(scenario: Scenario) -> Place:
    """Returns where noise is added, and who sees through it: the opener, or corrupt clients.

    Raises:
        ValueError: there is no such place.
    """
    privacy, facts = scenario.privacy, scenario.facts
    corrupt = facts.channel_options.get("corrupt")
    place = "local" if privacy is None else privacy.place
    return place_called(place, corrupt, facts.channel.opener)
