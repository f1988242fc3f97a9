"""Growth with the number of clients: CPU seconds and peak memory of each stage of a run.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.speed.scaling
    ... --clients 10 100 1000 10000 --repeats 1  # about 10 minutes of CPU, and 2 GiB

Each client has two synthetic records of 64 numbers and trains an MLP of 4,810 coordinates. Every
run has a process of its own, and all of them take turns; numbers are medians. A process first plays
a federation of ten clients, so that libraries are loaded, and then counts:

    check     from the text of the scenario to its facts
    parts     records dealt to the clients, their trainers
    set-up    both sides of the channel; the masked channel's members agree on their session here
    round     one round, training included

An exponent compares a number of clients with the one before: 1 is linear, 2 is quadratic. The
masked channel sums blocks of at most 128 clients, each of which deals shares to the others of its
block: its rounds are quadratic up to one block, and linear from there on. Memory is the growth of
the process's peak since the check began; a client's update takes 19 KiB.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.speed.own_tables import memory_bytes
from benchmarks.speed.process import Answer, run
from securefl.federation.engine import play_round
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.assemble import join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import Scenario, parse_scenario

STAGES = ("check", "parts", "set-up", "round")
CHANNELS = ("plain", "masked")
SIZES = (10, 100, 1000)
WARM_UP_CLIENTS = 10
RECORDS_PER_CLIENT = 2
MIB = 2**20

RECORDS = """
import torch


def load(records):
    generator = torch.Generator().manual_seed(0)
    features = torch.rand((records, 64), generator=generator)
    labels = torch.randint(10, (records,), generator=generator)
    return {"all": ((features, labels), (features[:100], labels[:100]))}
"""
TEXT = """
rounds = 1
weights = "equal"
model = {{ name = "mlp", hidden = [64] }}
training = {{ kind = "sgd", batch = 32 }}
channel.kind = "{channel}"

[data]
name = "python:records.py:load"
arguments = {{ records = {records} }}
num_classes = 10
partition = "iid"
clients = {clients}
"""

T = TypeVar("T")


class Measured(NamedTuple):
    """One run.

    Attributes:
        seconds: stage -> CPU seconds.
        peak: stage -> MiB of the peak at its end, on top of the memory before the check.
    """

    seconds: dict[str, float]
    peak: dict[str, float]


def measure(channel: str, clients: int, folder: Path) -> Measured:
    """Plays one round of a new federation in this process."""
    text = TEXT.format(channel=channel, records=RECORDS_PER_CLIENT * clients, clients=clients)
    measured = Measured({}, {})
    before = memory_bytes("VmRSS")

    def stage(name: str, call: Callable[[], T]) -> T:
        start = time.process_time()
        outcome = call()
        measured.seconds[name] = time.process_time() - start
        measured.peak[name] = (memory_bytes("VmHWM") - before) / MIB
        return outcome

    def checked() -> Scenario:
        return parse_scenario(text, folder=folder)

    scenario = stage("check", checked)
    made = stage("parts", lambda: parts(scenario, run="scaling", ledgers=folder / "ledgers"))
    assembled = stage("set-up", lambda: join(made))
    played = stage("round", lambda: play_round(assembled.federation, assembled.start))
    if played.record.abandoned:
        raise SystemExit(f"the round was abandoned: {played.record.reason}")
    return measured


def measure_alone(channel: str, clients: int) -> Answer:
    """Measures in a process of its own."""
    command = (sys.executable, "-m", "benchmarks.speed.scaling", "--channel", channel)
    return run((*command, "--clients", str(clients)))


def in_turns(sizes: Sequence[int], repeats: int) -> dict[tuple[str, int], list[Answer]]:
    """Returns the measurements of each channel and size, taken in turns."""
    answers: dict[tuple[str, int], list[Answer]] = {}
    for _ in range(repeats):
        for channel in CHANNELS:
            for clients in sizes:
                answer = measure_alone(channel, clients)
                answers.setdefault((channel, clients), []).append(answer)
    return answers


def medians(answers: Sequence[Answer]) -> list[float]:
    """Returns the CPU seconds of each stage, and of all stages together."""
    seconds = [[answer.number(f"seconds {stage}") for stage in STAGES] for answer in answers]
    stages = [statistics.median(stage) for stage in zip(*seconds, strict=True)]
    return [*stages, statistics.median(sum(run) for run in seconds)]


def exponent(sizes: tuple[int, int], values: tuple[float, float]) -> float:
    """Returns the slope between two sizes, on logarithmic scales."""
    return math.log(values[1] / values[0]) / math.log(sizes[1] / sizes[0])


def show(channel: str, sizes: Sequence[int], answers: Mapping[int, Sequence[Answer]]) -> None:
    """Prints the table of one channel: seconds, milliseconds a client, exponents, memory."""
    heads = [f"{stage:>10}     ms   exp" for stage in (*STAGES, "total")]
    print(f"{channel:<8}" + "".join(heads) + "   peak MiB   KiB a client")
    before: tuple[int, list[float]] | None = None
    for clients in sizes:
        seconds = medians(answers[clients])
        line = f"{clients:<8}"
        for place, value in enumerate(seconds):
            slope = ""
            if before is not None:
                slope = f"{exponent((before[0], clients), (before[1][place], value)):.2f}"
            line += f"{value:10.3f}{1000 * value / clients:7.2f}{slope:>6}"
        peak = statistics.median(answer.number("peak round") for answer in answers[clients])
        print(f"{line}{peak:11.1f}{1024 * peak / clients:15.1f}")
        before = (clients, seconds)


def main() -> None:
    """Prints a table for each channel; with --channel, one line of JSON of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--channel", choices=CHANNELS, help="measure this one, in this process")
    options = parser.parse_args()
    if options.channel is None:
        answers = in_turns(options.clients, options.repeats)
        for channel in CHANNELS:
            of_channel = {clients: answers[channel, clients] for clients in options.clients}
            show(channel, options.clients, of_channel)
        return
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "records.py").write_text(RECORDS)
        trust(folder)
        measure(options.channel, WARM_UP_CLIENTS, folder)
        measured = measure(options.channel, options.clients[-1], folder)
    flat = {f"seconds {stage}": value for stage, value in measured.seconds.items()}
    flat |= {f"peak {stage}": value for stage, value in measured.peak.items()}
    print(json.dumps(flat))


if __name__ == "__main__":
    main()
