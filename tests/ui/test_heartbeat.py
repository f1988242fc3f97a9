"""Signs of life within a round: from the trainers to the display, a few times a second at most."""

import itertools
from pathlib import Path

import pytest

from securefl.ui.display import SilentDisplay
from securefl.ui.progress import Step
from securefl.ui.run import SECONDS_BETWEEN_BEATS, run_scenario

SCENARIO = """
rounds = 2
training = { kind = "sgd", batch = 4, lr = 0.1 }
channel = { kind = "plain" }
"""
STEPS = 50 + 44 + 8 + 22  # of a round, in batches of 4


class Recorder(SilentDisplay):
    def __init__(self) -> None:
        self.steps: list[Step] = []

    def progress(self, step: Step) -> None:
        self.steps.append(step)


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, *, tick: float) -> list[Step]:
    """The steps that a run shows when the clock moves by `tick` each time somebody looks."""
    path = folder / "heart.toml"
    path.write_text(SCENARIO)
    clock = itertools.count(start=100.0, step=tick)
    monkeypatch.setattr("securefl.ui.run.time.monotonic", lambda: next(clock))
    display = Recorder()
    run_scenario(path, folder / "run", (), display)
    return display.steps


def test_a_run_shows_how_far_each_client_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = shown(tmp_path, monkeypatch, tick=1.01 * SECONDS_BETWEEN_BEATS)
    beats = [step for step in steps if step.event == "step"]
    assert len(beats) == 2 * STEPS
    assert beats[0].facts == {
        "label": "heart",
        "round": None,
        "client": 0,
        "clients": 4,
        "step": 1,
        "steps": 50,
    }
    assert beats[-1].text == "heart: 1/2 rounds, client 4 of 4, local step 22 of 22"
    assert [step.event for step in steps].index("round") == STEPS


def test_steps_that_follow_quickly_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = shown(tmp_path, monkeypatch, tick=SECONDS_BETWEEN_BEATS / 10)
    beats = [step for step in steps if step.event == "step"]
    assert 0 < len(beats) <= 2 * STEPS / 10 + 1
    assert [step.event for step in steps].count("round") == 2
