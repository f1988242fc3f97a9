"""Times rounds of pfl's simulated FedAvg in PyTorch; a JSON line.

    python -m benchmarks.speed.peer_pfl --workload A --rounds 5 --workers 1
    torchrun --nproc_per_node=2 -m benchmarks.speed.peer_pfl --workload A --rounds 5 --workers 2

Run by `benchmarks.speed.engine_peers` in pfl's own environment. Users' data sets are made once, so
that pfl keeps its cache of batches, and users do not evaluate.
"""

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.callback.central_evaluation import CentralEvaluationCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops.selector import get_default_framework_module as get_ops
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed import clocks, workloads


class Network(nn.Module):
    """A network with the two methods that pfl asks for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Returns the scores of the classes."""
        scores: Tensor = self.network(images)
        return scores

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of a batch."""
        return functional.cross_entropy(self(images), labels)

    @torch.no_grad()
    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """Returns the accuracy."""
        right = (self(images).argmax(dim=1) == labels).sum().item()
        return {"accuracy": Weighted(right, len(labels))}


class Clock(TrainingProcessCallback):  # type: ignore[misc]
    """Reads the clocks after each round; CPU of this process alone."""

    def __init__(self) -> None:
        self.seen: list[clocks.Seconds] = []

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """Called by pfl after the update and the callbacks before this one."""
        self.seen.append(clocks.Seconds.now())
        return False, Metrics()


def backend(work: workloads.Workload) -> SimulatedBackend:
    """Returns the users and the way that they are drawn: all of them, in each round."""
    users = [PyTorchTensorDataset(tuple(site)) for site in workloads.sites(work)]
    sampler = get_user_sampler("minimize_reuse", list(range(work.clients)))
    dataset = FederatedDataset(lambda user: users[user], sampler)
    return SimulatedBackend(training_data=dataset, val_data=dataset)


def train(task: clocks.Task, model: PyTorchModel) -> list[clocks.Seconds]:
    """Plays the rounds; returns the clocks after each."""
    work = workloads.WORKLOADS[task.workload]
    clock = Clock()
    test = PyTorchTensorDataset(tuple(workloads.server_records()))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,
            train_cohort_size=work.clients,
            val_cohort_size=0,
        ),
        backend=backend(work),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=work.batch, local_num_epochs=1, local_learning_rate=workloads.LR
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[CentralEvaluationCallback(test), clock],
    )
    return clock.seen


def main() -> None:
    """Runs a simulation; the first process prints the seconds of a round."""
    task = clocks.task(__doc__)
    torch.set_num_threads(1)
    # All processes draw the same users and start from the same model.
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    network = Network(workloads.NETWORKS[workloads.WORKLOADS[task.workload].network]())
    start = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    spent = clocks.a_round(train(task, model))
    # The CPU seconds of all processes.
    (cpu,) = get_ops().distributed.all_reduce([torch.tensor([spent.cpu])])
    moved = nn.utils.parameters_to_vector(network.parameters()) - start
    if get_ops().distributed.global_rank == 0:
        clocks.report("pfl", spent._replace(cpu=cpu.item()), moved.norm().item())


if __name__ == "__main__":
    main()
