"""A round of the engine next to the loop that one would write: CPU and wall seconds.

    nice -n 10 python -m benchmarks.speed.engine
    nice -n 10 python -m benchmarks.speed.engine --workloads A C --workers 1 2 4
    nice -n 10 python -m benchmarks.speed.engine --workloads B Bm --stack auto

`benchmarks.speed.workloads` describes A, B, Bm and C; the loop of C uses Opacus.

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
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import securefl
from benchmarks.speed import process, workloads
from benchmarks.speed.clocks import Seconds, a_round
from benchmarks.speed.workloads import LR, NETWORKS, WORKLOADS, Workload
from securefl.federation.profile import Profile
from securefl.runs.threads import one_thread
from securefl.scenario.plugins.trust import trust

CODE = """
from benchmarks.speed import workloads


def records(number):
    test = workloads.pictures(workloads.TEST_RECORDS)
    return {"all": (tuple(workloads.pictures(number)), tuple(test))}


def network(task, *, kind: str):
    return workloads.NETWORKS[kind]()
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


def ours(
    work: Workload, rounds: int, workers: int, stack: str, profile: Profile | None = None
) -> Iterator[Seconds]:
    """Runs a scenario; returns the clocks after each round. A profile gets their costs by stage."""
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
            profile=profile,
        )
    return iter(clocks)


def loop(work: Workload, rounds: int) -> Iterator[Seconds]:
    """Plays the rounds as one would write them; yields the clocks after each."""
    sites, test = workloads.sites(work), workloads.server_records()
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
            model(test.images).argmax(dim=1)
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
        noise_multiplier=workloads.NOISE_MULTIPLIER,
        max_grad_norm=workloads.CLIP,
    )
    for features, truth in batches:
        optimizer.zero_grad()
        functional.cross_entropy(private(features), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return local.state_dict()


def measure(side: str, work: Workload, rounds: int, stack: str) -> Seconds:
    """Returns the seconds of a round, of "loop" or of so many workers."""
    played = loop(work, rounds) if side == "loop" else ours(work, rounds, int(side), stack)
    return a_round(list(played))


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
