"""The Fisher information of an earlier version, measured at each client and kept there."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, FederatedData, Task
from securefl.errors import RunFailed, RunFolderError
from securefl.learning.algorithms.ewc import fisher_sum, noisy_fisher
from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import LAST
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.rng import seeded_keystream, system_keystream
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import Scenario

_PURPOSE = "fisher"


def fisher_cost(scenario: Scenario) -> PrivacyEvent | None:
    """Returns what the Fisher information costs each client; None without a DP claim."""
    noise = scenario.training.fisher_noise
    if not scenario.claims_dp or noise is None:
        return None
    return SampledGaussian(1.0, noise, 1)


def fisher_of(scenario: Scenario, client: int) -> Tensor | None:
    """Returns what a client of an anchored algorithm holds on to; None for all other algorithms.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    refine = scenario.refine
    if refine is None or refine.fisher is None:
        return None
    size = vector.statistics(scenario.facts.model).start
    # Without it the algorithm would hold on to nothing, and nobody would know.
    if not (Path(refine.fisher) / f"{client}.safetensors").exists():
        raise RunFolderError(f"refine.fisher: {refine.fisher} has nothing of client {client}")
    return _kept(Path(refine.fisher), client, size).before(LAST)


def measure_fisher(
    scenario: Scenario,
    data: FederatedData,
    weights: Tensor,
    folder: Path,
    *,
    records: Mapping[int, int],
    version: int,
    earlier: Path | None,
) -> None:
    """Measures and keeps every client's Fisher information at the earlier version's model.

    Args:
        scenario: of the next version: how its clients train, and what it claims.
        data: the records of the earlier version.
        weights: (d,), of the earlier version.
        folder: where each client keeps its own.
        records: client -> the declared number of its earlier records, under a claim.
        version: the number of the next version.
        earlier: the folder of what the earlier version held on to itself, which is added; None
            where that was nothing.

    Raises:
        RunFailed: it is not finite, because the earlier model is far off.
    """
    model = build_model(scenario, data.task)
    vector.load_vector(model, weights)
    for client, site in enumerate(data.sites):
        fisher = _measured(scenario, model, data.task, client, site.train, records, version)
        if earlier is not None:
            fisher = fisher + _kept(earlier, client, len(fisher)).before(LAST)
        if not vector.is_finite(fisher):
            raise RunFailed(f"the Fisher information of client {client} is not finite")
        kept = _kept(folder, client, len(fisher))
        kept.propose(version, fisher)
        kept.settle(version)


def _measured(
    scenario: Scenario,
    model: nn.Module,
    task: Task,
    client: int,
    examples: Examples,
    records: Mapping[int, int],
    version: int,
) -> Tensor:
    """Returns (parameters,) of one client; with noise, and of bounded gradients, under a claim."""
    noise = scenario.training.fisher_noise
    if not scenario.claims_dp or noise is None:
        return (fisher_sum(model, task, examples) / max(1, len(examples))).float()
    clip = scenario.training.clip
    is_seeded = scenario.privacy is not None and scenario.privacy.noise == "seeded"
    stream = system_keystream()
    if is_seeded:
        stream = seeded_keystream(scenario.seed, _PURPOSE, client, version)
    return noisy_fisher(
        fisher_sum(model, task, examples, clip=clip),
        records=records[client],
        clip=clip,
        noise_multiplier=noise,
        stream=stream,
    )


def _kept(folder: Path, client: int, size: int) -> Kept:
    """Returns the file of a client's Fisher information, read if it is there."""
    return Kept(torch.zeros(size), folder / f"{client}.safetensors")
