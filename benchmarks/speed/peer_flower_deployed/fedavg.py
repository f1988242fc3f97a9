"""FedAvg over Flower's deployment engine, as Flower's tutorials write it; PyTorch at the clients.

A SuperNode's configuration names its site's records. Which rounds are over is appended to a file.
"""

from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn
from torch.nn import functional

LR = 0.5
BATCH = 64
FEATURES = 15

client = ClientApp()
server = ServerApp()


def network(message: Message) -> nn.Module:
    """Returns the model with the weights of a message."""
    model = nn.Linear(FEATURES, 1)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return model


def records(context: Context, part: str) -> tuple[Tensor, Tensor]:
    """Returns this site's features and labels, of "train" or "judge"."""
    with np.load(str(context.node_config["records"]), allow_pickle=False) as arrays:
        features = torch.from_numpy(arrays[f"{part}_features"])
        return features, torch.from_numpy(arrays[f"{part}_labels"]).float()


@client.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Trains for an epoch of SGD."""
    model = network(message)
    features, labels = records(context, "train")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for chosen in torch.split(torch.randperm(len(labels)), BATCH):
        optimizer.zero_grad()
        scores = model(features[chosen]).squeeze(1)
        functional.binary_cross_entropy_with_logits(scores, labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    metrics = MetricRecord({"num-examples": len(labels)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@client.evaluate()  # type: ignore[untyped-decorator]
def evaluate(message: Message, context: Context) -> Message:
    """Returns the accuracy on this site's records that judge."""
    model = network(message)
    features, labels = records(context, "judge")
    with torch.no_grad():
        right = (model(features).squeeze(1) > 0) == (labels > 0)
    accuracy = right.float().mean().item()
    metrics = MetricRecord({"accuracy": accuracy, "num-examples": len(labels)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Plays the rounds."""
    progress = Path(str(context.run_config["progress"]))

    def note(round: int, arrays: ArrayRecord) -> None:
        """Stands where a user evaluates at the server, which is after all else of a round."""
        if round:
            moved = sum(value.abs().sum().item() for value in arrays.to_torch_state_dict().values())
            with progress.open("a") as file:
                file.write(f"{round} {moved}\n")

    model = nn.Linear(FEATURES, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    sites = 4
    FedAvg(
        fraction_evaluate=float(context.run_config["evaluate"]),
        min_train_nodes=sites,
        min_evaluate_nodes=sites,
        min_available_nodes=sites,
    ).start(
        grid=grid,
        initial_arrays=ArrayRecord(model.state_dict()),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=note,
    )
