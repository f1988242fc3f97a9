"""DP-SGD from inside: right code is hardly ever accused, and each planted fault is found.

A fault is "missed" where the audit says "holds". Seeds were chosen before looking.
"""

import pytest
import torch

from benchmarks.experiments.planted import FAULTS, SHARED, planted
from securefl.audit.inquiry import Inquiry
from securefl.audit.inside import inside_lines, play_probes
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import BATCHES, BOOKS, CLIP, FRESH, MECHANISM, SIZE
from securefl.audit.verdicts import overall
from securefl.scenario.scenario import Scenario, parse_scenario

SMALL = """
rounds = 8
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4, only = 0 }
model = { name = "mlp", hidden = [20] }
training = { kind = "dp_sgd", batch = 32, lr = 0.5 }
privacy = { epsilon = 30.0, noise_multiplier = 2.0, noise = "seeded", records = [320] }
"""
RATE, NOISE = 0.1, 2.0
FINDS = {
    "noise halved": SIZE,
    "noise x .1": SIZE,
    "noise 7 % too small": SIZE,
    "same noise in every round": FRESH,
    "noise with the other sign every second round": FRESH,
    "same noise in every step of a round": FRESH,
    "same noise in every tensor": FRESH,
    SHARED: FRESH,
    "biases without noise": SIZE,
    "last layer without noise": SIZE,
    "one coordinate without noise": SIZE,
    "noise of two values": SIZE,
    "clip skipped": CLIP,
    "clip 10 % too long": CLIP,
    "sum clipped, not each example": CLIP,
    "each layer clipped by itself": CLIP,
    "divided by the batch that came": SIZE,
    "shuffled batches": BATCHES,
    "one batch for a whole round": BATCHES,
    "batches of one size": BATCHES,
    "sample rate doubled": BATCHES,
    "accountant restarted": BOOKS,
}


# Other steps than usual, and more physical batches than one.
WAYS = {
    "adam": (
        "training.optimizer=adam",
        "training.lr=0.01",
        "training.weight_decay=0.1",
        "training.physical_batch=12",
    ),
    "momentum": ("training.momentum=0.8",),
    "schedule": (
        "training.schedule=cosine",
        "training.physical_batch=12",
        "training.class_weights=[0.2, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0]",
    ),
}


# Physical batches make the others four times as long; right code is tried with each, above.
IN_TIME = [
    pytest.param(way, id=name, marks=() if name == "momentum" else pytest.mark.slow)
    for name, way in WAYS.items()
]


def scenario_of(seed: int, *, clients: int = 1, way: tuple[str, ...] = ()) -> Scenario:
    text = SMALL
    if clients == 4:
        text = text.replace(", only = 0", "").replace("[320]", "[320, 320, 320, 320]")
    return parse_scenario(text, overrides=(f"seed={seed}", *way))


def lines_of(
    seed: int, fault: str = "", *, clients: int = 1, way: tuple[str, ...] = ()
) -> dict[str, Line]:
    torch.set_num_threads(1)
    inquiry = Inquiry(scenario_of(seed, clients=clients, way=way), "server", seed=seed)
    with planted(fault):
        run = play_probes([inquiry], on_round=lambda label, record: None)
    return {line.attack: line for line in inside_lines(inquiry, run, run.played.knowledge[0])}


@pytest.mark.parametrize("seed", range(70, 73))
def test_right_code_is_not_accused(seed: int) -> None:
    lines = lines_of(seed)
    assert tuple(lines) == (SIZE, FRESH, CLIP, BATCHES, BOOKS)
    assert set(lines) == set(MECHANISM)
    assert Verdict.VIOLATED not in {line.verdict for line in lines.values()}


@pytest.mark.parametrize("seed", range(5))
def test_right_code_of_a_short_run_is_not_accused(seed: int) -> None:
    """Six steps make 15 pairs, fewer than those whose exact chance is computed."""
    short = ("rounds=2", "privacy.records=[96]")
    lines = lines_of(seed, way=short)
    assert Verdict.VIOLATED not in {line.verdict for line in lines.values()}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_right_code_is_not_accused_whatever_the_optimizer(way: tuple[str, ...]) -> None:
    lines = lines_of(70, way=way)
    # As with plain steps, 80 of them are too few to be sure of the clip.
    assert lines.pop(CLIP).verdict is Verdict.UNDECIDED
    assert {line.verdict for line in lines.values()} == {Verdict.HOLDS}


@pytest.mark.parametrize("fault", ["noise 7 % too small", "clip 10 % too long"])
@pytest.mark.parametrize("way", IN_TIME)
def test_a_fault_is_found_whatever_the_optimizer(way: tuple[str, ...], fault: str) -> None:
    assert lines_of(80, fault, way=way)[FINDS[fault]].verdict is Verdict.VIOLATED


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_from_inside(fault: str) -> None:
    lines = lines_of(80, fault, clients=4 if fault == SHARED else 1)
    assert lines[FINDS[fault]].verdict is Verdict.VIOLATED
    assert overall(list(lines.values())) is Verdict.VIOLATED
