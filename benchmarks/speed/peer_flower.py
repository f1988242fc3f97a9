"""Times rounds of Flower's simulation on Ray, written as Flower's tutorials are; a JSON line.

    python -m benchmarks.speed.peer_flower --workload A --rounds 5 --workers 2

Run by `benchmarks.speed.engine_peers` in Flower's own environment. A client is a function of a
ClientApp, and the private one trains as in Flower's example with Opacus. What the tutorials leave
to the reader is done the fast way: records are made once a process and cut by tensors, not by a
DataLoader, clients do not evaluate, and no epsilon is computed.
"""

import os
import tempfile
from functools import cache

# Before the first import of flwr and ray: nothing is sent anywhere.
os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn import functional

from benchmarks.speed import clocks, workloads

torch.set_num_threads(1)
sites = cache(workloads.sites)
client_app = ClientApp()


@client_app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Trains one client's model for an epoch."""
    work = workloads.WORKLOADS[message.content["config"]["workload"]]
    records = sites(work)[context.node_config["partition-id"]]
    model = workloads.NETWORKS[work.network]()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    fit = fit_privately if work.private else fit_plainly
    fit(model, records, work.batch)
    metrics = MetricRecord({"num-examples": len(records.labels)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


def fit_plainly(model: nn.Module, records: workloads.Records, batch: int) -> None:
    """Trains with SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=workloads.LR)
    for chosen in torch.split(torch.randperm(len(records.labels)), batch):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(records.images[chosen]), records.labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def fit_privately(model: nn.Module, records: workloads.Records, batch: int) -> None:
    """Trains with Opacus."""
    from opacus import PrivacyEngine

    dataset = torch.utils.data.TensorDataset(records.images, records.labels)
    private, optimizer, batches = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=workloads.LR),
        data_loader=torch.utils.data.DataLoader(dataset, batch_size=batch),
        noise_multiplier=workloads.NOISE_MULTIPLIER,
        max_grad_norm=workloads.CLIP,
    )
    for images, labels in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(private(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def main() -> None:
    """Runs a simulation and prints the seconds of a round."""
    from flwr.simulation import run_simulation

    task = clocks.task(__doc__)
    work = workloads.WORKLOADS[task.workload]
    # By the module's own name: Ray would send functions of __main__ by value, again each time.
    from benchmarks.speed.peer_flower import client_app as importable

    model = workloads.NETWORKS[work.network]()
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    test = workloads.server_records()
    seen: list[clocks.Seconds] = []
    server_app = ServerApp()

    def evaluate(round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        with torch.no_grad():
            right = model(test.images).argmax(dim=1) == test.labels
        if round:
            seen.append(clocks.Seconds.now())
        return MetricRecord({"accuracy": right.float().mean().item()})

    @server_app.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, context: Context) -> None:
        FedAvg(fraction_evaluate=0.0).start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            num_rounds=task.rounds,
            train_config=ConfigRecord({"workload": task.workload}),
            evaluate_fn=evaluate,
        )

    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        run_simulation(
            server_app=server_app,
            client_app=importable,
            num_supernodes=work.clients,
            backend_config={
                "init_args": {
                    "num_cpus": task.workers,
                    "log_to_driver": False,
                    "_temp_dir": folder,
                },
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    moved = nn.utils.parameters_to_vector(model.parameters()) - start
    clocks.report("flwr", clocks.a_round(seen), moved.norm().item())


if __name__ == "__main__":
    main()
