"""Where the time of a round goes: by stage, and by torch's operators.

    python -m benchmarks.speed.where --workloads A Bm C

One process, one thread. A first run loads libraries and does not count. Stages are those of
`securefl run --profile`; operators are measured in another run, since to watch them takes time.
"""

import argparse
from collections.abc import Iterator

from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.engine import ours
from benchmarks.speed.workloads import WORKLOADS
from securefl.federation.profile import Profile
from securefl.runs.threads import one_thread

OPERATORS = 6  # that are shown, the longest first


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    one_thread()
    for name in chosen.workloads:
        for line in lines_of(name, chosen.rounds):
            print(line, flush=True)


def lines_of(name: str, rounds: int) -> Iterator[str]:
    """Yields the lines of one workload, which is played three times."""
    work = WORKLOADS[name]
    stack = "auto" if work.clients > 10 else "off"
    ours(work, 1, 1, stack)
    costs = Profile()
    ours(work, rounds, 1, stack, costs)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        ours(work, rounds, 1, stack)
    yield from shares(name, {stage: cost.cpu / rounds for stage, cost in costs.costs.items()})
    operators = {
        event.key: event.self_cpu_time_total / 1e6 / rounds for event in watched.key_averages()
    }
    yield from shares(f"{name}, operators", operators, most=OPERATORS)


def shares(title: str, seconds: dict[str, float], most: int | None = None) -> Iterator[str]:
    """Yields a line for each part, the longest first, and its share of all of them."""
    total = sum(seconds.values())
    yield f"{title}: {1e3 * total:.1f} ms a round"
    for part in sorted(seconds, key=lambda part: -seconds[part])[:most]:
        yield f"  {part:32} {1e3 * seconds[part]:8.1f} ms {seconds[part] / total:6.1%}"


if __name__ == "__main__":
    main()
