"""Canaries in clipped-gradient sums, and what an audit finds of noise that is too small."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from securefl.audit.canaries import Canaries
from securefl.audit.findings import Findings
from securefl.audit.lines import Verdict
from securefl.audit.repertoire import SUM_NOISE
from securefl.audit.sum_canaries import CanarySums, Enlarged
from securefl.audit.sum_noise import noise_line
from securefl.channels.masking import upload
from securefl.data.task import Examples, Task
from securefl.learning.head_sums import HeadSums
from securefl.learning.models.linear import logistic
from securefl.learning.options import StepOptions
from securefl.privacy.noise.discrete import discrete_gaussian
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import parse_scenario
from tests.audit.asking import findings_of, request_for

TASK = Task(features=1000, classes=2)
SUMS = """
rounds = 8
data = { name = "digits", partition = "iid", clients = 4 }
model = { name = "mlp", hidden = [100] }
training = { kind = "clipped_gradient", lr = 0.5, clip = 1.0 }
privacy = { epsilon = 8.0, noise = "seeded", place = "distributed" }
channel = { kind = "masked" }
"""


def head() -> HeadSums:
    return HeadSums(logistic(TASK, generator=torch.Generator()), TASK, StepOptions())


def examples(n: int = 6) -> Examples:
    generator = torch.Generator().manual_seed(1)
    return Examples(torch.randn(n, 1000, generator=generator), torch.ones(n, dtype=torch.int64))


def test_canaries_are_clipped_and_added_as_records_are() -> None:
    canaries = Canaries(1001, norm=10.0, stream=seeded_keystream(1, "canaries"))
    sums, weights = CanarySums(head(), canaries, normaliser=5.0), torch.zeros(1001)
    records = sums.prepared(examples())
    assert isinstance(records, Enlarged)
    assert len(records) == 6 + int(canaries.inside.sum())
    real = head().clipped_sum(weights, examples(), None, clip=0.5)
    total = sums.clipped_sum(weights, records, None, clip=0.5)
    added = (total - real)[canaries.coordinates]
    torch.testing.assert_close(added, 0.5 * canaries.signs * canaries.inside, rtol=1e-6, atol=1e-9)
    (others,) = canaries.others
    torch.testing.assert_close(others, -real / 5.0)


def test_canaries_enter_a_batch_by_their_own_coins() -> None:
    canaries = Canaries(1001, norm=0.25, stream=seeded_keystream(1, "canaries"))
    sums, weights = CanarySums(head(), canaries, normaliser=1.0), torch.zeros(1001)
    records = sums.prepared(examples())
    members = canaries.inside.nonzero()[:, 0]
    # Records 1 and 4, then the first and the eleventh canary.
    chosen = torch.tensor([1, 4, 6, 16])
    total = sums.clipped_sum(weights, records, chosen, clip=0.5)
    real = head().clipped_sum(weights, examples(), torch.tensor([1, 4]), clip=0.5)
    expected = torch.zeros(1001, dtype=torch.float64)
    for place in (0, 10):
        member = members[place]
        expected[canaries.coordinates[member]] = 0.25 * canaries.signs[member]
    torch.testing.assert_close(total - real, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sums.toml").write_text(SUMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict_of(findings: Findings, ending: str) -> Verdict:
    (line,) = (line for line in findings.lines if line.attack.endswith(ending))
    return line.verdict


@pytest.mark.parametrize(
    ("adversary", "share", "verdict"),
    [
        ("server", 1.0, Verdict.HOLDS),
        ("server", 0.5, Verdict.VIOLATED),
        ("server+clients", 0.5, Verdict.VIOLATED),
    ],
)
def test_half_the_share_at_every_client_is_found(
    adversary: str,
    share: float,
    verdict: Verdict,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def smaller(size: int, *, sigma: float, stream: Any) -> Any:
        return discrete_gaussian(size, sigma=share * sigma, stream=stream)

    monkeypatch.setattr(upload, "discrete_gaussian", smaller)
    # The target counts less than the others: noise must not be taken for more than it is.
    records = "privacy.records=[1000, 1000, 1000, 360]"
    findings = findings_of(request_for("sums.toml", adversary, records, target=3))
    assert verdict_of(findings, SUM_NOISE) is verdict
    assert (findings.verdict is Verdict.VIOLATED) is (verdict is Verdict.VIOLATED)
    # By canaries the server proves no more than the ledger allows.
    assert verdict_of(findings, "gradient canaries") is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [(0.95, Verdict.VIOLATED), (1.0, Verdict.HOLDS), (1.4, Verdict.HOLDS)],
)
def test_noise_is_held_against_what_is_booked(scale: float, verdict: Verdict) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = scale * 3.0 * torch.randn(20_000, generator=generator, dtype=torch.float64)
    line = noise_line(noise, 3.0)
    assert line.verdict is verdict
    measured = float(line.why.removeprefix("the noise of a sum is ").split()[0])
    assert measured == pytest.approx(scale, rel=0.02)


def test_little_noise_says_little() -> None:
    noise = 3.0 * torch.randn(50, generator=torch.Generator().manual_seed(1))
    assert noise_line(noise, 3.0).verdict is Verdict.UNDECIDED
    assert noise_line(noise, 30.0).verdict is Verdict.VIOLATED


def test_under_central_noise_the_model_shows_no_violation(place: Path) -> None:
    findings = findings_of(request_for("sums.toml", "outsider-weights", 'privacy.place="central"'))
    assert verdict_of(findings, "gradient canaries") is Verdict.UNDECIDED


def test_scores_of_a_sum_leave_out_all_that_is_known(place: Path) -> None:
    """Without noise, nothing is left at the canaries except for what they add themselves."""
    from securefl.audit.bounds import canary_scores
    from securefl.audit.inquiry import Inquiry
    from securefl.audit.measure import play_canaries

    overrides = ("privacy.noise_multiplier=0.5", "rounds=2", "privacy.epsilon=100.0")
    scenario = parse_scenario(SUMS, overrides=overrides)
    run = play_canaries([Inquiry(scenario, "server")], on_round=lambda label, record: None)
    scores = canary_scores(run.played.knowledge[0], run.canaries)
    assert scores is not None
    assert set(run.canaries.known) == {0, 1, 2, 3}
    in_, out = scores[run.canaries.inside], scores[~run.canaries.inside]
    # Two rounds of one record: its clip over the declared number of records.
    records = scenario.facts.site_records
    share = records[0] / max(records)
    assert float(in_.mean()) == pytest.approx(2 * share / records[0], rel=0.05)
    assert float(out.mean()) == pytest.approx(0.0, abs=5e-4)
    # Two rounds of the whole noise: multiplier .5 of the sensitivity at 2 of 4 shares.
    deviation = 0.5 / max(records) * (2 * 4 / 2) ** 0.5
    assert float(out.std()) == pytest.approx(deviation, rel=0.05)


def test_updates_are_noted_without_what_canaries_add() -> None:
    canaries = Canaries(1001, norm=10.0, stream=seeded_keystream(1, "canaries"))
    total: Tensor = CanarySums(head(), canaries, normaliser=2.0).clipped_sum(
        torch.zeros(1001), Enlarged(examples(), 0), None, clip=1.0
    )
    torch.testing.assert_close(canaries.others[0], -total / 2.0)


def test_a_model_with_too_little_room_for_canaries_leaves_the_noise_of_sums_open(
    place: Path,
) -> None:
    said: list[str] = []
    small = request_for("sums.toml", "server", 'model={ name = "logistic" }')
    findings = findings_of(small, said.append)
    assert verdict_of(findings, SUM_NOISE) is Verdict.UNDECIDED
    (line,) = (line for line in findings.lines if line.attack == SUM_NOISE)
    assert "a model of 1000 coordinates or more, got 650" in line.why
    assert "model.name = 'mlp' with more hidden units" in line.why
    # Clients take no steps of DP-SGD, and no line is about them.
    assert SUM_NOISE in said
    assert not [text for text in [*said, *(one.attack for one in findings.lines)] if "SGD" in text]
