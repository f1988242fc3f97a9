"""From a scenario to a federation that can run: data, clients, channel, rule, step."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from securefl import vector
from securefl.channels.protocol import SET_UP
from securefl.data.task import Examples, FederatedData, Task
from securefl.errors import ScenarioError
from securefl.federation.client import Client
from securefl.federation.unreliable import UnreliableClient
from securefl.federation.values import Federation, Participant, Rule, State, Weigh
from securefl.learning.canaries import NO_CANARIES, Canaries
from securefl.learning.dp_sgd import DpPlan, DpSgd, DpSgdTrainer
from securefl.learning.evaluate import evaluate, predict
from securefl.learning.protocol import Metrics, Trainer
from securefl.learning.sgd import SgdTrainer
from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.ledger import NOTHING, Before, Ledger
from securefl.privacy.remember import Remember, fresh
from securefl.rng import Keystream, StreamFor, seeded_keystream, system_keystream
from securefl.scenario import catalog
from securefl.scenario.ledgers import Origin, open_ledgers
from securefl.scenario.making.adversary import adversary_of, bend_of, poisoned, success
from securefl.scenario.making.channel import plan_of
from securefl.scenario.making.rule import make_rule, make_step, make_weights
from securefl.scenario.records import load_data
from securefl.scenario.scenario import Scenario

Implant = Callable[[nn.Module], nn.Module]


def as_it_is(model: nn.Module) -> nn.Module:
    """The model of the scenario: no implant."""
    return model


@dataclass(frozen=True)
class Assembled:
    """A federation ready to run, its first state, its ledgers, how to judge its model, and whom the set-up lost."""

    federation: Federation
    start: State
    ledgers: Mapping[int, Ledger]
    data: FederatedData
    model: nn.Module
    left_out: Mapping[int, str]
    scenario: Scenario

    def site_metrics(self, weights: Tensor) -> dict[str, Metrics]:
        """The metrics of weights (d,) at every site that has test records of its own."""
        vector.load_vector(self.model, weights)
        return {
            site.name: evaluate(self.model, self.data.task, site.test)
            for site in self.data.sites
            if site.test is not None
        }

    def attack_success(self, weights: Tensor) -> float | None:
        """Of the records that the attack is after, the share that weights (d,) take for what it wants."""
        vector.load_vector(self.model, weights)
        return success(self.scenario, self.data, lambda x: predict(self.model, self.data.task, x))

    def probabilities(self, weights: Tensor) -> Tensor:
        """(n, classes) of weights (d,) on all test records."""
        vector.load_vector(self.model, weights)
        return predict(self.model, self.data.task, self.data.test.features)


def defense_of(scenario: Scenario) -> Rule:
    """Its pre-filters and its rule."""
    rule, before = scenario.defense.rule, scenario.defense.prefilters
    return make_rule(rule.name, rule.parameters, [(one.name, one.parameters) for one in before])


def weights_of(scenario: Scenario) -> Weigh | None:
    """The weights that its rule gives to rows; None where it gives none."""
    rule, before = scenario.defense.rule, scenario.defense.prefilters
    return make_weights(rule.name, rule.parameters, [(one.name, one.parameters) for one in before])


def assemble(
    scenario: Scenario,
    *,
    run: str,
    ledgers: Path,
    origin: Origin | None = None,
    remember: Remember = fresh,
    canaries: Mapping[int, Canaries] = NO_CANARIES,
    implant: Implant = as_it_is,
) -> Assembled:
    """Everything a run needs.

    Args:
        scenario: checked by itself.
        run: names this run in release ids and sessions.
        ledgers: folder of the clients' ledgers; files that exist are read and continued.
        origin: the run that `init_from` names, as `runs/origin.py` reads it.
        remember: finds what is dear to compute (calibrated noise).
        canaries: client -> records beside its own, known by their gradients, for an audit; dp_sgd only.
        implant: what a malicious server makes of the model before anybody gets it, for an audit.

    Raises:
        DataError: a data file is damaged.
        LedgerError: a ledger is damaged or was kept under other terms.
        ValueError: origin is missing, or nobody asked for it.
    """
    data = load_data(scenario)
    model = build_model(scenario, data.task)
    if (origin is None) is not (scenario.init_from is None):
        raise ValueError(
            "an origin goes with a scenario that names one in init_from, and with no other"
        )
    if origin is not None:
        vector.load_vector(model, origin.weights)
    model = implant(model)
    start = vector.to_vector(model)
    session = hashlib.sha256(f"session/{run}".encode()).digest()[:16]
    books = open_ledgers(scenario, ledgers, origin)
    for book in books.values():
        book.begin()
    trainers = make_trainers(
        scenario, poisoned(scenario, data), model, books, remember, canaries, implant
    )
    config = hashlib.sha256(json.dumps(scenario.resolved(), sort_keys=True).encode()).digest()
    plan = plan_of(
        scenario,
        scenario.facts,
        session=session,
        d=len(start),
        stream_for=stream_for(scenario),
        config=config,
    )
    sides = catalog.CHANNELS[scenario.channel.kind].sides(plan, **scenario.facts.channel_options)
    layout = None if sides.first_name else vector.layout(model)
    clients: dict[int, Participant] = {
        index: Client(
            index,
            trainer=trainers[index],
            channel=sides.clients[index],
            weight=scenario.facts.client_weight(
                index, len(site.train) if scenario.weights == "reported" else None
            ),
            layout=layout,
            d=len(start),
            session=session,
            run=run,
            ledger=books.get(index),
            repeatable=scenario.repeatable,
        )
        for index, site in enumerate(data.sites)
        if index in sides.clients
    }
    rule = defense_of(scenario)
    federation = Federation(
        clients=_with_failures(scenario, clients),
        server=sides.server,
        session=session,
        layout=layout,
        invite=_inviter(scenario, tuple(clients)),
        min_cohort=scenario.facts.min_cohort,
        adversary=adversary_of(scenario, scenario.facts, rule, weights_of(scenario)),
        screen=catalog.SCREEN,
        rule=rule,
        weigh=weights_of(scenario),
        step=make_step(scenario.server.step, scenario.server.parameters),
        evaluate=_evaluator(model, data),
        server_holds_model=catalog.CHANNELS[scenario.channel.kind].server_holds_model,
    )
    return Assembled(
        federation,
        State(start, name=sides.first_name),
        books,
        data,
        model,
        sides.left_out,
        scenario,
    )


def build_model(scenario: Scenario, task: Task) -> nn.Module:
    """The model of the scenario with its initial weights, which the seed decides."""
    generator = seeded_keystream(scenario.seed, "init").torch_generator()
    return catalog.MODELS[scenario.model.name](
        task, generator=generator, **scenario.model.parameters
    )


def stream_for(scenario: Scenario) -> StreamFor:
    """Seeded streams by name where the scenario is repeatable; fresh system ones where it is not.

    What members draw in a channel's set-up follows `channel.secrets` instead: nobody gets it from a seed unasked.
    """
    secrets = scenario.facts.channel_options.get("secrets")

    def stream(purpose: str, client: int, round: int) -> Keystream:
        seeded = secrets == "seeded" if purpose == SET_UP else scenario.repeatable
        return (
            seeded_keystream(scenario.seed, purpose, client, round)
            if seeded
            else system_keystream()
        )

    return stream


def plan_for(
    scenario: Scenario, client: int, remember: Remember = fresh, before: Before = NOTHING
) -> DpPlan:
    """The public constants of one client's DP-SGD, noise calibrated to the target over all rounds and before them."""
    privacy, training = scenario.privacy, scenario.training
    if privacy is None:
        raise ScenarioError("dp_sgd needs a privacy table")
    plan = DpPlan(
        scenario.site_records[client],
        training.batch,
        training.epochs,
        training.clip,
        noise_multiplier=0.0,
    )
    if privacy.noise_multiplier is not None:
        noise = privacy.noise_multiplier
    elif math.isinf(privacy.epsilon):
        noise = 0.0
    else:
        key = {
            "epsilon": privacy.epsilon,
            "sample_rate": plan.sample_rate,
            "steps": plan.steps * scenario.rounds,
        }
        noise = _calibrated(key | {"delta": privacy.delta}, before, remember)
    return DpPlan(plan.records, plan.batch, plan.epochs, plan.clip, noise)


def _calibrated(what: dict[str, Any], before: Before, remember: Remember) -> float:
    """`calibrate_noise`, looked up first; the ledger computes its own epsilon and refuses noise that is too small."""
    key = what | {"before": before.told() if before.events else None}
    calibrate = partial(
        calibrate_noise,
        what["epsilon"],
        what["sample_rate"],
        what["steps"],
        what["delta"],
        before=dict(before.events),
    )
    try:
        return float(remember("noise", key, calibrate))
    except ValueError as reason:
        raise ScenarioError(f"privacy.epsilon: {reason}") from None


def make_trainers(
    scenario: Scenario,
    data: FederatedData,
    model: nn.Module,
    books: Mapping[int, Ledger],
    remember: Remember = fresh,
    canaries: Mapping[int, Canaries] = NO_CANARIES,
    implant: Implant = as_it_is,
) -> list[Trainer]:
    """One trainer a site; all of a process share one model as workspace."""
    streams, training = stream_for(scenario), scenario.training
    if training.kind == "sgd":
        return [
            sgd_trainer(scenario, data.task, site.train, model, client=index, streams=streams)
            for index, site in enumerate(data.sites)
        ]
    plans = [
        plan_for(scenario, index, remember, books[index].before if index in books else NOTHING)
        for index in range(len(data.sites))
    ]
    machine = DpSgd(implant(build_model(scenario, data.task)), data.task, lr=training.lr)
    with_canaries = {
        index: records.machine(build_model(scenario, data.task), data.task, lr=training.lr)
        for index, records in canaries.items()
    }
    return [
        DpSgdTrainer(
            with_canaries.get(index, machine), site.train, plan, client=index, stream_for=streams
        )
        for index, (site, plan) in enumerate(zip(data.sites, plans, strict=True))
    ]


def sgd_trainer(
    scenario: Scenario,
    task: Task,
    examples: Examples,
    model: nn.Module,
    *,
    client: int,
    streams: StreamFor,
) -> SgdTrainer:
    """One client's plain training."""
    training = scenario.training
    return SgdTrainer(
        model,
        task,
        examples,
        client=client,
        batch=training.batch,
        epochs=training.epochs,
        lr=training.lr,
        stream_for=streams,
        bend=bend_of(scenario, client),
    )


def _inviter(scenario: Scenario, members: tuple[int, ...]) -> Callable[[int], tuple[int, ...]]:
    """Every member of the session, or a fresh random cohort of them each round."""

    def invite(round: int) -> tuple[int, ...]:
        if scenario.cohort_size >= len(members):
            return members
        drawn = seeded_keystream(scenario.seed, "cohort", round).permutation(len(members))
        return tuple(sorted(members[place] for place in drawn[: scenario.cohort_size].tolist()))

    return invite


def _with_failures(scenario: Scenario, clients: dict[int, Participant]) -> dict[int, Participant]:
    """The clients, those with simulated failures wrapped."""
    drops, lates = scenario.simulate.drop, scenario.simulate.late
    for client in {failure.client for failure in (*drops, *lates)} & set(clients):
        clients[client] = UnreliableClient(
            clients[client],
            drop={failure.round: failure.stage for failure in drops if failure.client == client},
            late=frozenset(failure.round for failure in lates if failure.client == client),
        )
    return clients


def _evaluator(model: nn.Module, data: FederatedData) -> Callable[[Tensor], Metrics]:
    def judge(weights: Tensor) -> Metrics:
        vector.load_vector(model, weights)
        return evaluate(model, data.task, data.test)

    return judge
