"""Checking, assembling and playing take as many steps for each further client, however many."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from securefl.federation.engine import play_round
from securefl.scenario.assemble.assemble import Assembled, join
from securefl.scenario.assemble.parts import Parts, parts
from securefl.scenario.budget import outlook
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary

SIZES = (40, 80, 160)  # each twice the one before
TEXT = """
rounds = 2
data = {{ name = "digits", partition = "iid", clients = {clients} }}
training = {{ kind = "sgd", batch = 32 }}
channel.kind = "{channel}"

[simulate]
drop = [{drop}]
late = [{late}]
{more}
"""


def text_of(channel: str, clients: int) -> str:
    """Returns a scenario in which one client in four drops out, and another one is late."""
    drop = [f"{{ client = {client}, round = 1, stage = 1 }}" for client in range(0, clients, 4)]
    late = [f"{{ client = {client}, round = 1 }}" for client in range(1, clients, 4)]
    more = "" if channel == "plain" else f"missing = {list(range(2, clients, 4))}"
    return TEXT.format(
        channel=channel, clients=clients, drop=", ".join(drop), late=", ".join(late), more=more
    )


def steps_of(call: Callable[[], object]) -> int:
    """Returns how many instructions of Python's a call executes; the same on every machine."""
    steps = 0

    def in_frame(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += event == "opcode"
        return in_frame

    def begun(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    before = sys.gettrace()
    sys.settrace(begun)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps


def assert_linear(work: Callable[[int], Callable[[], object]]) -> None:
    """Counts the work for each size: twice the clients may add little more than twice the steps."""
    work(10)()  # what is imported or cached once a process
    few, more, most = (steps_of(work(clients)) for clients in SIZES)
    assert most - more < 2.1 * (more - few) + 200


def test_the_count_can_fail() -> None:
    def quadratic(clients: int) -> Callable[[], object]:
        return lambda: [one + other for one in range(clients) for other in range(clients)]

    with pytest.raises(AssertionError):
        assert_linear(quadratic)


def test_a_scan_for_each_client_counts() -> None:
    def scans(clients: int) -> Callable[[], object]:
        return lambda: [any(one == other for other in range(clients)) for one in range(clients)]

    with pytest.raises(AssertionError):
        assert_linear(scans)


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_checking_and_describing_a_scenario_is_linear_in_clients(channel: str) -> None:
    def checked(clients: int) -> Callable[[], object]:
        text = text_of(channel, clients)

        def check() -> None:
            scenario = parse_scenario(text)
            summary(scenario)
            scenario.resolved()
            outlook(scenario)

        return check

    assert_linear(checked)


def scenario_of(channel: str, clients: int) -> Scenario:
    return parse_scenario(text_of(channel, clients))


def parts_of(channel: str, clients: int, folder: Path) -> Parts:
    return parts(scenario_of(channel, clients), run="r", ledgers=folder)


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_making_and_joining_the_parts_is_linear_in_clients(channel: str, tmp_path: Path) -> None:
    def made(clients: int) -> Callable[[], object]:
        scenario = scenario_of(channel, clients)
        return lambda: parts(scenario, run="r", ledgers=tmp_path)

    def joined(clients: int) -> Callable[[], object]:
        ready = parts_of(channel, clients, tmp_path)
        return lambda: join(ready)

    assert_linear(made)
    assert_linear(joined)


def test_a_plain_round_is_linear_in_clients(tmp_path: Path) -> None:
    def played(clients: int) -> Callable[[], object]:
        assembled: Assembled = join(parts_of("plain", clients, tmp_path))
        return lambda: play_round(assembled.federation, assembled.start)

    assert_linear(played)
