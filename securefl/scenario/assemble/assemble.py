"""From parts to a federation that can run: clients, channel, server, cohorts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from securefl import vector
from securefl.channels.faults import Remembers
from securefl.channels.protocol import ChannelClient, ChannelServer, Sides
from securefl.data.task import FederatedData
from securefl.errors import RoundAbandoned
from securefl.federation.client import Client
from securefl.federation.engine import Play, play_round
from securefl.federation.reader import ModelReader
from securefl.federation.values import Federation, Participant, State, never, unmeasured
from securefl.learning.algorithms.protocol import SettledTrainer
from securefl.learning.device import described, device_of
from securefl.learning.evaluate import evaluate, predict
from securefl.learning.plan import OnStep, unseen
from securefl.learning.protocol import Metrics, Trainer
from securefl.learning.stacked.stack import Stack
from securefl.privacy.ledger import Ledger
from securefl.privacy.remember import Remember, fresh
from securefl.scenario import catalog
from securefl.scenario.assemble.central import noisy_mean
from securefl.scenario.assemble.cohort import clock_of, inviter
from securefl.scenario.assemble.evaluation import evaluated_rounds
from securefl.scenario.assemble.failures import with_failures
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.assemble.own_models import (
    Own,
    judged_apart,
    judged_nodes,
    of_node,
    own_models,
)
from securefl.scenario.assemble.parts import Parts, parts
from securefl.scenario.assemble.plays import play_of
from securefl.scenario.assemble.public import PublicParts, ServerParts
from securefl.scenario.assemble.regions import Met, above, regional
from securefl.scenario.assemble.trainers import stream_for
from securefl.scenario.making.adversary import success
from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Assembled:
    """A federation ready to run, and the means to judge its models.

    Attributes:
        federation: for the engine.
        start: the state before the first round.
        ledgers: client -> its ledger; empty where nothing is claimed.
        data: the records, before corrupt clients changed theirs.
        model: a workspace.
        left_out: client -> why the channel's set-up lost it.
        scenario: the declaration.
        stack: how many clients train at once.
        settled: the trainers of clients that keep a state from round to round.
        own: client -> how it gets its own model; empty where all have the global one.
        play: plays a round.
    """

    federation: Federation
    start: State
    ledgers: Mapping[int, Ledger]
    data: FederatedData
    model: nn.Module
    left_out: Mapping[int, str]
    scenario: Scenario
    stack: Stack
    settled: tuple[SettledTrainer, ...] = ()
    own: Mapping[int, Own] = field(default_factory=dict)
    play: Play = play_round

    def site_metrics(self, state: State) -> dict[str, Metrics]:
        """Returns the metrics at every site with test records of its own.

        A site that has a model of its own is judged with that one.
        """
        metrics = {}
        for client, site in enumerate(self.data.sites):
            if site.test is not None:
                own = self.own.get(client)
                vector.load_vector(self.model, state.weights if own is None else own(state))
                metrics[site.name] = evaluate(self.model, self.data.task, site.test)
        return metrics

    @property
    def device(self) -> str:
        """The device that trains and evaluates, in the words of a run's metrics."""
        return described(device_of(self.model))

    def attack_success(self, state: State) -> float | None:
        """Returns the share of targeted records on which the attack succeeds."""
        vector.load_vector(self.model, state.weights)
        return success(
            self.scenario.facts, self.data, lambda x: predict(self.model, self.data.task, x)
        )

    def probabilities(self, weights: Tensor) -> Tensor:
        """Returns (n, classes) of weights (d,) on all test records."""
        vector.load_vector(self.model, weights)
        return predict(self.model, self.data.task, self.data.test.features)


def assemble(
    scenario: Scenario,
    *,
    run: str,
    ledgers: Path,
    origin: Origin | None = None,
    remember: Remember = fresh,
    on_step: OnStep = unseen,
) -> Assembled:
    """Makes a scenario's parts, as `parts` does, and joins them."""
    made = parts(
        scenario, run=run, ledgers=ledgers, origin=origin, remember=remember, on_step=on_step
    )
    return join(replace(made, trainers=made.stack.trainers), ahead=made.stack.size)


def join(parts: Parts, *, ahead: int = 1) -> Assembled:
    """Joins parts into a federation; the channel's set-up is held here.

    Args:
        parts: of the federation.
        ahead: clients that may be training at once; see `Federation`.
    """
    scenario = parts.scenario
    trainers = parts.at_clients()
    regions = {number: _met(region, trainers, ahead) for number, region in regional(parts).items()}
    met = above(parts, regions) if regions else _met(parts, trainers, ahead)
    own = own_models(parts, trainers)
    judge = _evaluator(parts.model, parts.data)
    # Without their personal parts, the global model is none that anybody uses.
    if scenario.facts.algorithm.personal is not None:
        judge = partial(judged_apart, parts.model, parts.data, own)
    topology = scenario.facts.topology
    if topology is not None and topology.around:
        nodes = met.federation.clients
        own = {node: partial(of_node, node, len(nodes)) for node in nodes}
        honest = [node for node in nodes if node not in parts.adversary.clients]
        judge = partial(judged_nodes, parts.model, parts.data, honest)
    federation = replace(
        met.federation,
        evaluate=judge,
        is_evaluated=evaluated_rounds(scenario),
    )
    return Assembled(
        federation=federation,
        start=State(vector.to_vector(parts.model), name=met.first_name),
        ledgers=parts.ledgers,
        data=parts.data,
        model=parts.model,
        left_out=met.left_out,
        scenario=scenario,
        stack=parts.stack,
        settled=tuple(one for one in trainers.values() if isinstance(one, SettledTrainer)),
        own=own,
        play=play_of(scenario),
    )


def _met(parts: Parts, trainers: Mapping[int, Trainer], ahead: int) -> Met:
    """Holds the set-up of one session, and returns its federation; it evaluates no model.

    Raises:
        RoundAbandoned: the set-up lost too many clients.
    """
    kind = catalog.CHANNELS[parts.scenario.channel.kind]
    try:
        sides = kind.sides(parts.plan, **parts.facts.channel_options)
    except RoundAbandoned as reason:
        place = "" if parts.region is None else f"region {parts.region}: "
        raise RoundAbandoned(f"{place}{reason}") from None
    clients = _clients(parts, sides, trainers)
    clock = clock_of(parts.scenario, tuple(clients))
    clients = with_failures(parts.scenario, clients, clock)
    layout = _layout(parts, sides)
    federation = federation_of(parts, clients, sides.server, layout=layout, ahead=ahead)
    return Met(replace(federation, clock=clock), sides.left_out, sides.first_name)


def federation_of(
    parts: ServerParts,
    clients: Mapping[int, Participant],
    server: ChannelServer,
    *,
    layout: str | None,
    ahead: int,
) -> Federation:
    """Returns a federation that a server can play without any record: it evaluates no model.

    Args:
        parts: of the server.
        clients: the members of the session, wherever they are.
        server: the server's side of the channel.
        layout: see `Federation`.
        ahead: see `Federation`.
    """
    scenario = parts.scenario
    return Federation(
        clients=clients,
        server=server,
        session=parts.session,
        layout=layout,
        invite=inviter(scenario, tuple(clients)),
        min_cohort=parts.facts.min_cohort,
        adversary=parts.adversary,
        screen=catalog.SCREEN,
        rule=parts.rule,
        weigh=parts.weigh,
        step=parts.step,
        algorithm=parts.algorithm,
        evaluate=unmeasured,
        is_evaluated=never,
        server_holds_model=catalog.CHANNELS[scenario.channel.kind].server_holds_model,
        ahead=ahead,
        noisy_mean=noisy_mean(scenario, parts.common_noise, stream_for(scenario)),
        grouped=parts.facts.channel_options.get("groups") is not None,
        memory=server if isinstance(server, Remembers) else None,
    )


def client_of(
    parts: PublicParts,
    client: int,
    *,
    trainer: Trainer,
    channel: ChannelClient,
    reader: ModelReader,
    ledger: Ledger | None,
    records: int | None,
) -> Client:
    """Returns one client of the federation.

    Args:
        parts: what every party has.
        client: its id.
        trainer: its local training.
        channel: its side of the channel.
        reader: of global models.
        ledger: its ledger; None where nothing claims DP.
        records: its record count where weights are reported; None everywhere else.
    """
    return Client(
        client,
        trainer=trainer,
        channel=channel,
        weight=parts.scenario.facts.client_weight(client, records),
        reader=reader,
        run=parts.run,
        ledger=ledger,
        repeatable=parts.scenario.repeatable,
    )


def _layout(parts: Parts, sides: Sides) -> str | None:
    """Returns the model's layout; None where the server may not know it."""
    return None if sides.first_name else vector.layout(parts.model)


def _clients(parts: Parts, sides: Sides, trainers: Mapping[int, Trainer]) -> dict[int, Participant]:
    """Returns the clients that are part of the session."""
    scenario = parts.scenario
    reader = parts.reader(_layout(parts, sides))
    clients: dict[int, Participant] = {}
    for index, site in enumerate(parts.data.sites):
        # The set-up may have lost it: a client that missed it has no key in the session.
        if index not in sides.clients:
            continue
        # A client's real count is read where it is reported, and nowhere else.
        records = len(site.train) if scenario.weights == "reported" else None
        clients[index] = client_of(
            parts,
            index,
            trainer=trainers[index],
            channel=sides.clients[index],
            reader=reader,
            ledger=parts.ledgers.get(index),
            records=records,
        )
    return clients


def _evaluator(model: nn.Module, data: FederatedData) -> Callable[[State], Metrics]:
    def judge(state: State) -> Metrics:
        vector.load_vector(model, state.weights)
        return evaluate(model, data.task, data.test)

    return judge
