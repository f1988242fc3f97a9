"""Audits of somebody's own records and model: every attack runs, and right code is not accused."""

import re
from pathlib import Path

import pytest

from securefl.audit.findings import Findings
from securefl.audit.lines import Verdict
from securefl.scenario.plugins.trust import trust
from tests.audit.asking import findings_of, request_for

CODE = """
import numpy as np
from torch import nn


def load(n=60):
    random = np.random.default_rng(0)
    labels = np.arange(n) // 2 % 2

    def site():
        noise = random.normal(size=(n, 1, 8, 8)).astype(np.float32) * 0.3
        return (noise + (2 * labels - 1)[:, None, None, None] * 0.2).clip(-1, 1), labels

    return {name: site() for name in ("bern", "chur", "wil")}


class Cnn(nn.Module):
    # The head is declared first, as nothing forbids.
    def __init__(self, outputs):
        super().__init__()
        self.head = nn.Linear(12 * 4 * 4, outputs)
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Flatten(),
        )

    def forward(self, x):
        return self.head(self.body(x))


def build(task):
    return Cnn(task.outputs)


def flat(task):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, task.outputs))
"""
TEXT = """
rounds = 2
weights = "equal"
data = { name = "python:mine.py:load", test_share = 0.4, PUBLIC }
model = "python:mine.py:build"
training = { kind = "KIND", batch = 16, lr = 0.2 }
"""
PUBLIC = 'per_record = true, num_classes = 2, sites = ["bern", "chur", "wil"]'
CLAIM = 'privacy = { epsilon = 8, noise = "seeded", records = [40, 40, 40] }'
MEMBERSHIP = {"loss threshold", "label only", "LiRA", "offline LiRA", "RMIA"}
MECHANISM = {
    "size of the noise",
    "freshness of the noise",
    "clipping of each example",
    "Poisson batches",
    "booked steps",
}


def audited(folder: Path, kind: str, who: str, *overrides: str, shadows: int = 2) -> Findings:
    (folder / "mine.py").write_text(CODE)
    trust(folder)
    text = TEXT.replace("KIND", kind).replace("PUBLIC", PUBLIC)
    (folder / "s.toml").write_text(text + (CLAIM if kind == "dp_sgd" else ""))
    request = request_for(
        str(folder / "s.toml"),
        who,
        *overrides,
        shadows=shadows,
        folder=folder / "audits",
        exposure=True,
    )
    return findings_of(request)


@pytest.mark.parametrize("model", ["build", "flat"])
def test_membership_and_canaries_run_and_right_code_is_not_accused(
    tmp_path: Path, model: str
) -> None:
    findings = audited(tmp_path, "dp_sgd", "server", f"model=python:mine.py:{model}")
    lines = {re.sub(r"^\d+ ", "", line.attack): line for line in findings.lines}
    assert {*MEMBERSHIP, "gradient canaries", *MECHANISM} <= set(lines)
    assert Verdict.VIOLATED not in {line.verdict for line in lines.values()}
    assert lines["booked steps"].verdict is Verdict.HOLDS


def test_what_updates_show_is_measured_on_a_model_that_declares_its_head_first(
    tmp_path: Path,
) -> None:
    one_step = ("training.batch=60", "training.lr=0.1")
    findings = audited(tmp_path, "sgd", "malicious-server", *one_step, shadows=0)
    exposures = {exposure.attack: exposure for exposure in findings.exposures}
    labels = exposures["labels"]
    assert labels.measured is not None
    assert labels.measured > 0.97
    imprint = exposures["imprint before the model"]
    assert imprint.measured is not None
    assert imprint.guessing is not None
    assert imprint.measured > imprint.guessing + 10
