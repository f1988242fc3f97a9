"""A round of the engine next to the loop that one would write: CPU and wall seconds.

    nice -n 10 python -m benchmarks.speed.engine
    nice -n 10 python -m benchmarks.speed.engine --workloads A C --workers 1 2 4
    nice -n 10 python -m benchmarks.speed.engine --workloads B Bm --stack auto

    A    10 clients x 500 images, CNN of 207k parameters with group norm, batches of 32
    B    100 clients x 50 images, CNN of 9k parameters, batches of 10
    Bm   B with an MLP of 79.5k parameters
    C    A with DP-SGD, clip 1, noise 1 from the system; the loop uses Opacus

Synthetic images of 28 x 28 x 1, ten classes, one local epoch of SGD, the plain mean. Each
measurement has a process of its own with one thread, and all sides take turns. The first round of a
process loads libraries and does not count. CPU seconds include the workers'. Medians; the ratios
are those of the loop over ours.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import securefl
from benchmarks.speed import process
from securefl.data.task import Examples, Task
from securefl.runs.threads import one_thread
from securefl.scenario.plugins.trust import trust

LR = 0.1
TASK = Task(features=28 * 28, classes=10, image=(1, 28, 28))
TEST_RECORDS = 100
CODE = """
from benchmarks.speed import engine


def records(number):
    train, test = engine.records(number), engine.records(engine.TEST_RECORDS)
    return {"all": ((train.features, train.labels), (test.features, test.labels))}


def network(task, *, kind: str):
    return engine.NETWORKS[kind]()
"""
TEXT = """
rounds = {rounds}
weights = "equal"
model = {{ name = "python:workload.py:network", kind = "{network}" }}
training = {{ kind = "{kind}", batch = {batch}, lr = {lr} }}
data = {{ name = "python:workload.py:records", number = {number}, clients = {clients}, {declared} }}
{privacy}
{engine}
"""
DECLARED = 'partition = "iid", per_record = true, num_classes = 10, sites = ["all"]'
PRIVACY = "privacy = {{ epsilon = 100.0, noise_multiplier = 1.0, records = {records} }}"


class Workload(NamedTuple):
    """What is trained, and by whom."""

    clients: int
    records: int
    batch: int
    network: str
    private: bool = False


WORKLOADS = {
    "A": Workload(10, 500, 32, "cnn"),
    "B": Workload(100, 50, 10, "small cnn"),
    "Bm": Workload(100, 50, 10, "mlp"),
    "C": Workload(10, 500, 32, "cnn", private=True),
}


def records(number: int) -> Examples:
    """Returns images and labels that nobody owns."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(256, (number, *TASK.image), generator=generator, dtype=torch.uint8)
    return Examples(images, torch.randint(TASK.classes, (number,), generator=generator))


def cnn(channels: Sequence[int], hidden: Sequence[int]) -> nn.Sequential:
    """Returns blocks of convolution, group norm, tanh and pooling, then linear layers."""
    layers: list[nn.Module] = []
    inputs = 1
    for width in channels:
        norm = nn.GroupNorm(8, width)
        layers += [nn.Conv2d(inputs, width, 3, padding=1), norm, nn.Tanh(), nn.MaxPool2d(2)]
        inputs = width
    side = 28 // 2 ** len(channels)
    return nn.Sequential(*layers, *linear(inputs * side**2, hidden))


def linear(inputs: int, hidden: Sequence[int]) -> list[nn.Module]:
    """Returns linear layers with tanh between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return [*layers, nn.Linear(inputs, TASK.classes)]


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "cnn": lambda: cnn((16, 32), (128,)),
    "small cnn": lambda: cnn((8, 16), ()),
    "mlp": lambda: nn.Sequential(*linear(TASK.features, (100,))),
}


class Seconds(NamedTuple):
    """A time on two clocks; CPU of this process and of the workers that it has."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        """Returns both clocks."""
        return cls(time.process_time() + _cpu_of_children(), time.perf_counter())


def _cpu_of_children() -> float:
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            # After the name, which may hold anything: user and system time are fields 14 and 15.
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ours(work: Workload, rounds: int, workers: int, stack: str) -> Iterator[Seconds]:
    """Runs a scenario; returns the clocks after each round."""
    number = work.clients * work.records
    declared = [work.records] * work.clients
    text = TEXT.format(
        rounds=rounds,
        network=work.network,
        kind="dp_sgd" if work.private else "sgd",
        batch=work.batch,
        lr=LR,
        number=number,
        clients=work.clients,
        declared=DECLARED,
        privacy=PRIVACY.format(records=declared) if work.private else "",
        engine=f"engine.stack = {stack if stack.isdigit() else repr(stack)}",
    )
    clocks: list[Seconds] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # This user's own lists and caches stay as they are.
        os.environ |= {"SECUREFL_CONFIG": name, "SECUREFL_CACHE": name}
        (folder / "workload.py").write_text(CODE)
        trust(folder)
        scenario = securefl.parse_scenario(text, folder=folder)
        securefl.run(
            scenario,
            folder / "run",
            on_round=lambda record: clocks.append(Seconds.now()),
            workers=workers,
        )
    return iter(clocks)


def loop(work: Workload, rounds: int) -> Iterator[Seconds]:
    """Plays the rounds as one would write them; yields the clocks after each."""
    everything = records(work.clients * work.records)
    images, test = everything.features / 255, records(TEST_RECORDS)
    parts = (torch.split(images, work.records), torch.split(everything.labels, work.records))
    sites = list(zip(*parts, strict=True))
    model = NETWORKS[work.network]()
    train = _train_privately if work.private else _train
    for _ in range(rounds):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        total = {name: torch.zeros_like(value) for name, value in start.items()}
        for site in sites:
            model.load_state_dict(start)
            trained = train(model, *site, batch=work.batch)
            for name, value in trained.items():
                total[name] += value / work.clients
        model.load_state_dict(total)
        with torch.no_grad():
            model(test.features / 255).argmax(dim=1)
        yield Seconds.now()


def _train(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for chosen in torch.split(torch.randperm(len(labels)), batch):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.state_dict()


def _train_privately(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch: int
) -> dict[str, Tensor]:
    """Trains as the first pages of Opacus' documentation do."""
    from opacus import PrivacyEngine

    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels), batch_size=batch
    )
    local = copy.deepcopy(model)
    private, optimizer, batches = PrivacyEngine().make_private(
        module=local,
        optimizer=torch.optim.SGD(local.parameters(), lr=LR),
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for features, truth in batches:
        optimizer.zero_grad()
        functional.cross_entropy(private(features), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return local.state_dict()


def measure(side: str, work: Workload, rounds: int, stack: str) -> Seconds:
    """Returns the seconds of a round, of "loop" or of so many workers."""
    played = loop(work, rounds) if side == "loop" else ours(work, rounds, int(side), stack)
    clocks = list(played)
    spent = [end - start for start, end in zip(clocks[0], clocks[-1], strict=True)]
    return Seconds(*(seconds / (len(clocks) - 1) for seconds in spent))


def compare(name: str, sides: Sequence[str], rounds: int, repeats: int, stack: str) -> None:
    """Prints a line for each side of a workload."""
    measured: dict[str, list[Seconds]] = {side: [] for side in sides}
    module = (sys.executable, "-m", "benchmarks.speed.engine", "--workloads", name)
    for _ in range(repeats):
        for side, seconds in measured.items():
            options = process.options(rounds=rounds, stack=stack)
            answer = process.run((*module, "--side", side, *options))
            seconds.append(Seconds(answer.number("cpu"), answer.number("wall")))
    medians = {
        side: Seconds(*map(statistics.median, zip(*seconds, strict=True)))
        for side, seconds in measured.items()
    }
    base = medians["loop"]
    for side, (cpu, wall) in medians.items():
        label = side if side == "loop" else f"workers {side}"
        ratios = f"{base.cpu / cpu:6.2f} x{base.wall / wall:8.2f} x"
        print(f"{name:<3}{label:<11}{cpu:8.3f} s{wall:9.3f} s{ratios}", flush=True)


def main() -> None:
    """Prints a table; with --side, one line of JSON of one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stack", default="off", help="engine.stack of our side")
    parser.add_argument("--side", help="measure this one, in this process")
    options = parser.parse_args()
    if options.side is not None:
        one_thread()
        work = WORKLOADS[options.workloads[0]]
        measured = measure(options.side, work, options.rounds, options.stack)
        print(json.dumps(measured._asdict()))
        return
    print(f"{'':<14}{'CPU':>10}{'wall':>11}{'CPU':>8}{'wall':>10}")
    for name in options.workloads:
        sides = ["loop", *map(str, options.workers)]
        compare(name, sides, options.rounds, options.repeats, options.stack)


if __name__ == "__main__":
    main()
