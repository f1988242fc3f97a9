"""The parts of a federation, made from a scenario and ready to be joined.

An ordinary run calls `assemble`. An audit replaces a part between the two steps:

    made = parts(scenario, run="audit", ledgers=folder)
    trainers = {**made.trainers, client: watched(made.trainers[client])}
    assembled = join(replace(made, trainers=trainers))
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from securefl import vector
from securefl.data.task import FederatedData
from securefl.learning.algorithms.protocol import Place
from securefl.learning.device import CPU
from securefl.learning.plan import LocalTraining, OnStep, unseen
from securefl.learning.protocol import Trainer
from securefl.learning.release import Release
from securefl.learning.stacked.stack import Stack
from securefl.privacy.ledger import Ledger
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.client_release import client_releases
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.fisher import fisher_of
from securefl.scenario.assemble.fit_files import FitFiles
from securefl.scenario.assemble.fitting import harmonised
from securefl.scenario.assemble.ledgers import Origin, open_ledgers
from securefl.scenario.assemble.public import ServerParts, server_parts
from securefl.scenario.assemble.trainers import (
    local_training,
    make_stack,
    make_trainers,
    pulled_trainers,
)
from securefl.scenario.making.adversary import poisoned
from securefl.scenario.scenario import Scenario

STATE = "state.safetensors"  # of a client, where its algorithm has one


@dataclass(frozen=True)
class Parts(ServerParts):
    """Everything that a federation is joined from.

    Attributes:
        data: the records, before corrupt clients changed theirs.
        local: all that the trainers were made from.
        trainers: client -> its local training, one at a time.
        stack: trains several of them at once, where the scenario says so.
        ledgers: client -> its ledger, opened; empty where nothing is claimed.
        keeps: folder of what clients keep from round to round; None for memory alone.
        releases: client -> how its update leaves, where it is protected as a whole.
    """

    data: FederatedData
    local: LocalTraining
    trainers: Mapping[int, Trainer]
    stack: Stack
    ledgers: Mapping[int, Ledger]
    keeps: Path | None = None
    releases: Mapping[int, Release] = field(default_factory=dict)

    def at_clients(self) -> dict[int, Trainer]:
        """Returns client -> its trainer, with its half of the algorithm.

        Raises:
            RunFolderError: what a client kept is damaged.
        """
        algorithm, start = self.algorithm, vector.to_vector(self.model)
        pulled = pulled_trainers(self.scenario, self.local)
        trainers = {}
        for client, trainer in self.trainers.items():
            place = Place(
                client,
                self.local.steps_of(client),
                self.local.corrections,
                file=None if self.keeps is None else self.keeps / str(client) / STATE,
                start=start,
                personal=pulled.get(client),
                silent=self.scenario.claims_dp,
                fisher=fisher_of(self.scenario, client),
                release=self.releases.get(client),
            )
            trainers[client] = algorithm.at_client(trainer, place)
        return trainers

    def on(self, model: nn.Module) -> "Parts":
        """Returns the same parts around another model, with trainers made for it."""
        local = replace(self.local, model=model)
        trainers = make_trainers(self.scenario, local)
        stack = make_stack(self.scenario, local, trainers)
        return replace(self, model=model, local=local, trainers=trainers, stack=stack)


def parts(
    scenario: Scenario,
    *,
    run: str,
    ledgers: Path,
    keeps: Path | None = None,
    fit: FitFiles | None = None,
    origin: Origin | None = None,
    remember: Remember = fresh,
    on_step: OnStep = unseen,
    device: torch.device = CPU,
) -> Parts:
    """Makes the parts of a scenario's federation.

    Args:
        scenario: checked by itself.
        run: names this run in release ids and sessions.
        ledgers: folder of the clients' ledgers; files that exist are read and continued.
        keeps: folder of what clients keep from round to round; None for memory alone.
        fit: where the fit that harmonises records is kept; None for memory alone.
        origin: the run that `init_from` names, as `runs/origin.py` reads it.
        remember: caches calibrated noise.
        on_step: called after every local step of a client.
        device: where models train and are evaluated. An audit plays every run on the CPU.

    Raises:
        BudgetExceeded: a site cannot pay for the fit that harmonises records.
        DataError: a data file is damaged, or nothing can be fitted to the records.
        LedgerError: a ledger is damaged or was kept under other terms.
        RunFailed: a site is missing in that fit.
        ScenarioError: the records cannot be dealt, or no noise meets the claim.
        ValueError: origin is missing, or the scenario names none.
    """
    data = load_data(scenario)
    server = server_parts(scenario, run=run, origin=origin, remember=remember)
    server.model.to(device)
    # Ledgers come before trainers: noise is calibrated on top of what they have spent.
    books = open_ledgers(scenario, ledgers, origin)
    for book in books.values():
        book.begin()
    data = harmonised(server, data, ledgers=books, files=fit)
    sites = poisoned(scenario, scenario.facts, data).sites
    examples = {client: site.train for client, site in enumerate(sites)}
    local = local_training(
        scenario,
        data.task,
        examples,
        server.model,
        books,
        remember,
        on_step,
        common_noise=server.common_noise,
    )
    trainers = make_trainers(scenario, local)
    return Parts(
        **vars(server),
        data=data,
        local=local,
        trainers=trainers,
        stack=make_stack(scenario, local, trainers),
        ledgers=books,
        keeps=keeps,
        releases=client_releases(scenario, books, server.common_noise, remember),
    )
