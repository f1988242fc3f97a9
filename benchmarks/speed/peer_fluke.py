"""Times rounds of fluke's FedAvg or, with DP-SGD, of its DPFedAVG; a JSON line.

    python -m benchmarks.speed.peer_fluke --workload A --rounds 5 --workers 1

Run by `benchmarks.speed.engine_peers` in fluke's own environment. On a CPU fluke trains its clients
one after another in one process. Models stay in memory, and the server measures accuracy only.
"""

from typing import Any

import torch
from torch import nn

from benchmarks.speed import clocks, workloads


def declare_missing_operations() -> torch.library.Library:
    """Lets torchvision, which fluke imports, be imported next to a torch of another build.

    Its compiled part does not load there, and its Python part stops at two operations that are then
    unknown. Nothing here calls them.

    Returns:
        The declarations; they go when this object goes.
    """
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def loader(records: workloads.Records, batch: int, *, shuffle: bool) -> Any:
    """Returns fluke's own loader, which cuts tensors."""
    from fluke.data import FastDataLoader

    return FastDataLoader(*records, num_labels=workloads.CLASSES, batch_size=batch, shuffle=shuffle)


def federation(work: workloads.Workload, model: nn.Module) -> Any:
    """Returns the clients and the server."""
    from fluke import DDict
    from fluke.algorithms import CentralizedFL
    from fluke.algorithms.dpfedavg import DPFedAVG
    from fluke.data import DataSplitter, DummyDataContainer

    data = DummyDataContainer(
        clients_tr=[loader(site, work.batch, shuffle=True) for site in workloads.sites(work)],
        clients_te=[None] * work.clients,
        server_data=loader(workloads.server_records(), workloads.TEST_RECORDS, shuffle=False),
        num_classes=workloads.CLASSES,
    )
    client: dict[str, Any] = {
        "batch_size": work.batch,
        "local_epochs": 1,
        "loss": "CrossEntropyLoss",
        "optimizer": {"name": "SGD", "lr": workloads.LR},
        "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 1},
    }
    if work.private:
        client |= {"noise_mul": workloads.NOISE_MULTIPLIER, "max_grad_norm": workloads.CLIP}
    settings = DDict(client=DDict(**client), server=DDict(weighted=False), model=model)
    algorithm = DPFedAVG if work.private else CentralizedFL
    return algorithm(work.clients, DataSplitter(data), settings)


def clocks_after_rounds(players: Any, rounds: int) -> list[clocks.Seconds]:
    """Plays the rounds; returns the clocks after each, the server's evaluation included."""
    from fluke import FlukeENV
    from fluke.evaluation import ClassificationEval
    from fluke.utils import FederationObserver
    from torchmetrics import Accuracy

    seen: list[clocks.Seconds] = []

    class Clock(FederationObserver):  # type: ignore[misc]
        def end_round(self, round: int) -> None:
            seen.append(clocks.Seconds.now())

    accuracy = Accuracy(task="multiclass", num_classes=workloads.CLASSES)
    FlukeENV().set_evaluator(ClassificationEval(1, workloads.CLASSES, accuracy=accuracy))
    players.set_callbacks(Clock())
    players.run(rounds, eligible_perc=1.0)
    return seen


def main() -> None:
    """Runs a federation and prints the seconds of a round."""
    task = clocks.task(__doc__)
    torch.set_num_threads(1)
    declared = declare_missing_operations()
    work = workloads.WORKLOADS[task.workload]
    model = workloads.NETWORKS[work.network]()
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    players = federation(work, model)
    spent = clocks.a_round(clocks_after_rounds(players, task.rounds))
    moved = nn.utils.parameters_to_vector(players.server.model.parameters()) - start
    clocks.report("fluke_fl", spent, moved.norm().item())
    del declared


if __name__ == "__main__":
    main()
