"""The model of a scenario, its random streams, and its clients' trainers."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from securefl import vector
from securefl.channels.protocol import SET_UP
from securefl.data.task import Examples, Task
from securefl.errors import ScenarioError
from securefl.learning.adapt import adapted
from securefl.learning.algorithms.corrections import CorrectedTrainer, Corrections
from securefl.learning.algorithms.ditto import PulledTrainer
from securefl.learning.algorithms.steps import Corrected, Proximal, changed
from securefl.learning.descent import Steps
from securefl.learning.options import StepOptions
from securefl.learning.plan import DpPlan, LocalTraining, OnStep, unseen
from securefl.learning.protocol import Trainer
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.stack import Stack, stack_of
from securefl.learning.weights import read_weights
from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.remember import Remember, fresh
from securefl.rng import Keystream, StreamFor, seeded_keystream, system_keystream
from securefl.scenario.making.adversary import bend_of
from securefl.scenario.making.algorithm import schedule_of
from securefl.scenario.making.keys import with_keys
from securefl.scenario.making.model import model_of
from securefl.scenario.release import multiplier_of
from securefl.scenario.scenario import Scenario


def build_model(scenario: Scenario, task: Task) -> nn.Module:
    """Returns the scenario's model with its initial weights, of a file or as the seed decides.

    Raises:
        DataError: the file of weights changed since the scenario was checked.
    """
    stream = seeded_keystream(scenario.seed, "init")
    model = model_of(scenario.facts.architecture, task, stream)
    return adapted(model, scenario.facts.adaptation, weights=_weights(scenario))


def _weights(scenario: Scenario) -> dict[str, Tensor] | None:
    """Returns the initial weights that the scenario names; None without."""
    path, expected = scenario.model.weights, scenario.facts.weights_digest
    if path is None or expected is None:
        return None
    return read_weights(scenario.home / path, expected=expected)


def stream_for(scenario: Scenario) -> StreamFor:
    """Returns seeded streams for a repeatable scenario, else the system's.

    The secrets that members draw in a channel's set-up follow `channel.secrets` instead: a seeded
    run alone is no reason to take them from the seed.
    """
    secrets = scenario.facts.channel_options.get("secrets")

    def stream(purpose: str, client: int, round: int) -> Keystream:
        seeded = secrets == "seeded" if purpose == SET_UP else scenario.repeatable
        if not seeded:
            return system_keystream()
        return seeded_keystream(scenario.seed, purpose, client, round)

    return stream


def local_training(
    scenario: Scenario,
    task: Task,
    examples: Mapping[int, Examples],
    model: nn.Module,
    ledgers: Mapping[int, Ledger],
    remember: Remember = fresh,
    on_step: OnStep = unseen,
    *,
    common_noise: float = 0.0,
) -> LocalTraining:
    """Returns everything that the trainers of some clients are made from.

    Args:
        scenario: says how clients train.
        task: gives the loss.
        examples: client -> its training records, corrupt ones as attacked; a site has only its own.
        model: the trainers' workspace.
        ledgers: client -> its ledger, which says what its noise has to make up for.
        remember: caches calibrated noise.
        on_step: called after every step of a client, unless their number is protected.
        common_noise: noise multiplier of sums; 0 where each client adds its own noise.

    Raises:
        ScenarioError: no noise meets the claim.
    """
    # Clients of different sizes sample at different rates, so that each needs noise of its own.
    plans = {}
    if scenario.facts.trainer.private:
        for client in examples:
            before = ledgers[client].before if client in ledgers else NO_PAST
            if scenario.facts.has_common_noise:
                plans[client] = scenario.facts.plan_with_noise(client, common_noise)
            else:
                plans[client] = plan_for(scenario, client, remember, before)
    steps: dict[int, int] = {}
    corrections = None
    if scenario.facts.algorithm.corrects:
        parameters = vector.statistics(model).start
        personal = scenario.facts.personal_on(model)
        corrections = Corrections(
            tuple(examples),
            parameters,
            steps=steps,
            personal=None if personal is None else personal[:parameters],
            anchored=scenario.facts.algorithm.anchored,
        )
    bends = {}
    for client in examples:
        bend = bend_of(scenario, scenario.facts, client)
        if bend is not None:
            bends[client] = bend
    local = LocalTraining(
        model=model,
        task=task,
        examples=examples,
        batch=scenario.training.batch,
        epochs=scenario.training.epochs,
        lr=scenario.training.lr,
        stream_for=stream_for(scenario),
        plans=plans,
        bends=bends,
        options=step_options(scenario, corrections),
        # Where a client is protected as a whole, so is its number of records, hence of steps.
        on_step=unseen if scenario.protects_clients else on_step,
        corrections=corrections,
    )
    steps.update({client: local.steps_of(client) for client in examples})
    return local


def pulled_trainers(scenario: Scenario, local: LocalTraining) -> dict[int, PulledTrainer]:
    """Returns client -> what trains a model of its own, by plain SGD; empty where none has one."""
    if not scenario.facts.algorithm.pulled:
        return {}
    corrections = Corrections(tuple(local.examples), vector.statistics(local.model).start)
    training = scenario.training
    given = training.model_dump(exclude_none=True)
    optimizer = with_keys(scenario.facts.optimizer.function, given)

    def pull(steps: Steps) -> Steps:
        return Corrected(Proximal(steps, given["lam"]), corrections)

    # Steps without noise are of the real number of records, which a claim does not show.
    options = replace(local.options, optimizer=changed(optimizer, pull))
    own = replace(local, options=options, on_step=unseen)
    return {
        client: PulledTrainer(trainer, client, corrections)
        for client, trainer in sgd_trainers(own).items()
    }


def fine_tuners(scenario: Scenario, local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> what trains the last model further, by plain SGD; empty without."""
    epochs = scenario.training.fine_tune
    if epochs is None:
        return {}
    given = scenario.training.model_dump(exclude_none=True)
    optimizer = with_keys(scenario.facts.optimizer.function, given)
    options = replace(local.options, optimizer=optimizer)
    return sgd_trainers(replace(local, epochs=epochs, options=options, on_step=unseen))


def step_options(scenario: Scenario, corrections: Corrections | None = None) -> StepOptions:
    """Returns how the scenario's clients take their steps.

    Args:
        scenario: says so.
        corrections: what clients add to gradients; None where the algorithm adds nothing.
    """
    training, facts = scenario.training, scenario.facts
    given = {**training.model_dump(exclude_none=True), "corrections": corrections}
    optimizer = with_keys(facts.optimizer.function, given)
    # Unchanged steps keep their optimizer's name: `StepOptions.linear` asks for it.
    if facts.algorithm.adds:
        optimizer = changed(optimizer, with_keys(facts.algorithm.function, given))
    return StepOptions(
        optimizer=optimizer,
        schedule=schedule_of(scenario, trainings=facts.trainings),
        class_weights=training.class_weights,
        physical_batch=training.physical_batch,
    )


def make_trainers(scenario: Scenario, local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> its trainer, of the kind that the scenario names."""
    trainers = scenario.facts.trainer.make(local)
    corrections = local.corrections
    if corrections is None:
        return trainers
    return {
        client: CorrectedTrainer(trainer, client, corrections)
        for client, trainer in trainers.items()
    }


def make_stack(scenario: Scenario, local: LocalTraining, trainers: Mapping[int, Trainer]) -> Stack:
    """Returns the stacks in which the scenario's clients train; of one client by default."""
    asked = None if scenario.engine is None else scenario.engine.stack
    facts = scenario.facts
    return stack_of(local, trainers, asked=asked, make=facts.trainer.stacked, cohort=facts.invited)


def plan_for(
    scenario: Scenario, client: int, remember: Remember = fresh, before: Past = NO_PAST
) -> DpPlan:
    """Returns the public constants of a client's DP mechanism, with the noise that it adds itself.

    Args:
        scenario: declares the claim.
        client: whose constants.
        remember: caches calibrated noise.
        before: releases that the claim covers as well, of the run that this one goes on from.

    Raises:
        ScenarioError: there is no privacy table, or no noise meets the claim.
    """
    if scenario.privacy is None:
        raise ScenarioError("dp_sgd needs a privacy table")
    plan = scenario.facts.plan_without_noise(client)
    # A fit that harmonises the records is released first, and the claim covers both.
    fit = scenario.data.fit
    noise = multiplier_of(
        scenario,
        lambda privacy: calibrated(
            privacy.epsilon,
            plan.sample_rate,
            plan.steps * scenario.facts.trainings,
            privacy.delta,
            before=before if fit is None else before.and_once(fit.cost),
            remember=remember,
        ),
    )
    return plan.with_noise(noise)


def calibrated(
    epsilon: float,
    sample_rate: float,
    steps: int,
    delta: float,
    *,
    before: Past,
    remember: Remember,
) -> float:
    """Returns the calibrated noise multiplier, cached.

    A wrong value in the cache costs a run and no privacy: the ledger computes epsilon itself and
    refuses noise that is too small.
    """
    # Everything that the noise depends on; a key that lacked something would find another's noise.
    key = {
        "epsilon": epsilon,
        "sample_rate": sample_rate,
        "steps": steps,
        "delta": delta,
        "before": before.to_json() if before.events else None,
    }
    calibrate = partial(
        calibrate_noise, epsilon, sample_rate, steps, delta, before=dict(before.events)
    )
    try:
        return float(remember("noise", key, calibrate))
    except ValueError as reason:
        raise ScenarioError(f"privacy.epsilon: {reason}") from None
