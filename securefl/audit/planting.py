"""Puts canaries among the records of clients, whichever way these train."""

from collections.abc import Mapping
from dataclasses import replace

from securefl.audit.canaries import Canaries
from securefl.audit.sum_canaries import NotedTrainer, with_canaries_in_sums
from securefl.learning.clipped_gradient import ClippedGradientTrainer
from securefl.learning.dp_sgd import DpSgdTrainer
from securefl.learning.protocol import Trainer
from securefl.scenario.assemble.parts import Parts
from securefl.scenario.assemble.trainers import build_model


def with_canaries(parts: Parts, canaries: Mapping[int, Canaries]) -> Parts:
    """Returns the same parts, with canaries among the records of some clients.

    Args:
        parts: of a scenario that trains with noise.
        canaries: client -> the canaries that enter its training.

    Raises:
        TypeError: a client trains in another way, which no canary can enter.
    """
    trainers = dict(parts.trainers)
    for client, records in canaries.items():
        trainer = trainers[client]
        if isinstance(trainer, ClippedGradientTrainer):
            trainers[client] = with_canaries_in_sums(trainer, records)
            if parts.scenario.facts.has_common_noise:
                trainers |= _noted(trainers, records)
            continue
        if not isinstance(trainer, DpSgdTrainer):
            raise TypeError(
                "canaries enter DP-SGD and sums of clipped gradients, client "
                f"{client} trains in another way"
            )
        # A model of its own: Opacus hooks into it, and the other clients share theirs.
        model = build_model(parts.scenario, parts.data.task)
        machine = records.machine(
            model, parts.data.task, lr=parts.local.lr, options=parts.local.options
        )
        trainers[client] = trainer.on(machine)
    return replace(parts, trainers=trainers)


def _noted(trainers: Mapping[int, Trainer], canaries: Canaries) -> dict[int, Trainer]:
    """Returns the same trainers, whose updates are noted at the canaries."""
    return {
        client: NotedTrainer(trainer, client, canaries)
        for client, trainer in trainers.items()
        if isinstance(trainer, ClippedGradientTrainer)
    }
