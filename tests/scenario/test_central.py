"""Noise of whoever opens a sum: its size, and that no client changes what it has to cover."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.protocol import View
from securefl.federation import engine
from securefl.federation.values import NoisyMean
from securefl.learning.protocol import Trained
from securefl.privacy.events import PrivacyEvent
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.assemble.assemble import join
from securefl.scenario.assemble.central import (
    noisy_mean,
    rounded_sensitivity,
    weighted_sum,
)
from securefl.scenario.assemble.parts import parts
from securefl.scenario.assemble.trainers import stream_for
from securefl.scenario.scenario import Scenario, parse_scenario

HEART = """
rounds = 30
data = { name = "heart", partition = "natural" }
training = { kind = "clipped_gradient", lr = 1.0, clip = 0.5 }
privacy = { epsilon = 8.0, noise = "seeded", place = "central", records = [200, 173, 31, 86] }
channel = { kind = "plain" }
"""
MASKED = 'channel.kind="masked"'
EQUAL = 'weights="equal"'


def scenario(*overrides: str) -> Scenario:
    return parse_scenario(HEART, overrides=overrides)


def seeded(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(7, purpose, client, round)


def noise_of(checked: Scenario, multiplier: float) -> NoisyMean:
    noise = noisy_mean(checked, multiplier, seeded)
    assert noise is not None
    return noise


def view_of(rows: Tensor, weights: list[float]) -> View:
    return View(rows, torch.tensor(weights), tuple((place,) for place in range(len(rows))))


# --- its size


@pytest.mark.parametrize(("scale", "passes"), [(1.0, True), (1.1, False)])
@pytest.mark.parametrize("weighted", [True, False])
def test_central_noise_has_the_deviation_of_the_sum_over_its_weight(
    scale: float, passes: bool, weighted: bool
) -> None:
    checked = scenario(*(() if weighted else (EQUAL,)))
    numbers = [200.0, 173.0, 86.0] if weighted else [1.0, 1.0, 1.0]
    view = view_of(torch.zeros(3, 20_000), numbers)
    noisy = noise_of(checked, 3.0 * scale)(view, 4)
    # One record moves the mean by .5 / 459, or by .5 / 31 of a third.
    deviation = 3.0 * 0.5 / 459 if weighted else 3.0 * 0.5 / 31 / 3
    statistic = float((noisy.double() / deviation).square().sum())
    lowest, highest = chi2.ppf(5e-7, 20_000), chi2.isf(5e-7, 20_000)
    assert bool(lowest < statistic < highest) is passes


def test_central_noise_is_of_its_round_and_comes_on_top_of_the_mean() -> None:
    noise = noise_of(scenario(), 2.0)
    rows = torch.tensor([[0.1, 0.2, 0.0], [0.3, -0.2, 0.0]])
    view, nothing = view_of(rows, [200.0, 100.0]), view_of(torch.zeros(2, 3), [200.0, 100.0])
    first, again, later = (noise(view, round) for round in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    # (200 x .1 + 100 x .3) / 300, and the other coordinates alike.
    expected = torch.tensor([0.5 / 3, 0.2 / 3, 0.0])
    torch.testing.assert_close(first - noise(nothing, 0), expected, rtol=0, atol=1e-7)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_counts_as_nothing(number: float) -> None:
    noise = noise_of(scenario(), 2.0)
    rows = torch.full((2, 6), 0.1)
    rows[1, 3] = number
    both = noise(view_of(rows, [100.0, 300.0]), 0)
    assert torch.equal(both, noise(view_of(rows[:1], [100.0]), 0))
    with pytest.raises(ValueError, match="mean needs a finite row, all n=1 were set aside"):
        noise(view_of(rows[1:], [300.0]), 0)


def test_roundings_are_part_of_what_central_noise_covers() -> None:
    exact = 0.5 / 200
    update, mean = 2.0**-23 * 0.5, 2.0**-23 * 4 * 0.5
    # To within what float64 adds: 4 (d + 8) 2^-52.
    plain = scenario()
    assert rounded_sensitivity(plain) == pytest.approx(exact + update, rel=1e-9)
    masked = scenario(MASKED)
    code = masked.facts.terms.code
    assert code.levels == (2**30 - 1) // 4  # half of the ring is for sums that are mirrored
    in_steps = 4.0 / code.levels * math.sqrt(masked.facts.coordinates)
    assert rounded_sensitivity(masked) == pytest.approx(exact + update + mean + in_steps, rel=1e-9)
    ckks = scenario('channel.kind="ckks"')
    assert exact + update + mean < rounded_sensitivity(ckks) < 1.1 * exact


# --- what clients send


def test_rows_are_shortened_to_the_longest_honest_one_known_answer() -> None:
    # A row of norm 5 and one of norm 1, at most 2: 3 x (1.2, 1.6) + 1 x (0, 1).
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    total, weight = weighted_sum(view_of(rows, [3.0, 1.0]), 2.0)
    assert weight == 4.0
    assert total.tolist() == pytest.approx([3.6, 5.8], rel=1e-12)
    assert total.dtype == torch.float64


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5, 1e30])
def test_whatever_the_others_send_one_row_moves_the_sum_no_further_than_itself(
    seed: int, scale: float
) -> None:
    drawing = torch.Generator().manual_seed(seed)
    others = scale * torch.randn(5, 40, generator=drawing)
    row = torch.randn(40, generator=drawing)
    neighbour = row + 0.01 * torch.randn(40, generator=drawing)
    sums = [
        weighted_sum(view_of(torch.cat([others, one[None]]), [1.0] * 6), 3.0)[0]
        for one in (row, neighbour)
    ]
    moved = float((row.double() - neighbour.double()).norm())
    assert float((sums[0] - sums[1]).norm()) <= moved * (1 + 1e-9)


@dataclass
class Sends:
    """A trainer whose update is the same whatever the model."""

    cost: PrivacyEvent | None
    delta: Tensor

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        return Trained(self.delta, self.cost)


def released(checked: Scenario, honest: float, others: dict[int, float], folder: Path) -> Tensor:
    """Returns the model after a round, whose only honest site has one coordinate that is not 0."""
    made = parts(checked, run="run", ledgers=folder)
    trainers = {}
    for client, trainer in made.trainers.items():
        delta = torch.zeros(checked.facts.coordinates)
        delta[0] = others.get(client, honest)
        trainers[client] = Sends(trainer.cost, delta)
    assembled = join(replace(made, trainers=trainers))
    start = replace(assembled.start, weights=torch.zeros_like(assembled.start.weights))
    return engine.play_round(assembled.federation, start).state.weights.double()


def check_a_record_moves_no_more_than_noise_covers(
    checked: Scenario, others: dict[int, float], folder: Path
) -> None:
    """Plays a round on two neighbouring data sets of site 3, under equal noise and roundings."""
    one_record = checked.facts.in_sum.sensitivity  # of the sum, with equal weights
    honest = 0.3
    models = [
        released(checked, value, others, folder / str(place))
        for place, value in enumerate((honest, honest + one_record))
    ]
    covered = rounded_sensitivity(checked) / checked.clients
    last_rounding = 2 * 2.0**-24  # of a model no longer than 1
    assert float((models[1] - models[0]).norm()) <= covered + last_rounding
    assert 0.01 < float(models[0].norm()) < 1


@pytest.mark.parametrize("exponent", [4, 26, 120])
def test_in_the_clear_no_corrupt_sites_bring_a_record_out_by_a_rounding(
    exponent: int, tmp_path: Path
) -> None:
    """Two sites move the mean to where the data sets of a third are rounded apart in float32."""
    checked = scenario(EQUAL)
    one_record = checked.facts.in_sum.sensitivity
    step = 2.0 ** (exponent - 23)  # of float32, around the mean
    boundary = 4 * step / 2 - (0.3 + one_record / 2)
    others = {0: 4 * 2.0**exponent, 1: boundary, 2: 0.0}
    check_a_record_moves_no_more_than_noise_covers(checked, others, tmp_path)


@pytest.mark.parametrize("keys", ["ring=64, clip=1e6", "ring=32", "ring=32, clip=0.5"])
def test_in_a_masked_sum_no_corrupt_sites_bring_a_record_out_by_a_rounding(
    keys: str, tmp_path: Path
) -> None:
    checked = scenario(EQUAL, f'channel={{ kind="masked", secrets="seeded", {keys} }}')
    clip = checked.facts.channel_options["clip"]
    largest = 2.0 ** math.floor(math.log2(clip) - 2)
    step = largest * 2.0**-23
    boundary = 4 * step / 2 - (0.3 + checked.facts.in_sum.sensitivity / 2)
    others = {0: 4 * largest, 1: boundary, 2: 0.0}
    check_a_record_moves_no_more_than_noise_covers(checked, others, tmp_path)


@pytest.mark.parametrize("ring", [32, 64])
def test_in_a_masked_sum_no_corrupt_site_brings_a_record_out_by_a_wrap(
    ring: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that does not clip moves the sum to where the words of the ring change their sign."""
    checked = scenario(EQUAL, f'channel={{ kind="masked", secrets="seeded", ring={ring} }}')
    code = checked.facts.terms.code
    middle = 0.3 + checked.facts.in_sum.sensitivity / 2
    turn = 2 ** (ring - 1) - round(middle / code.step)  # in steps
    honest = FixedPoint.encode

    def encode(self: FixedPoint, values: NDArray[Any], *, out: NDArray[Any], **keys: Any) -> None:
        honest(self, values, out=out, **keys)
        if values[0] == 0.25:  # the mark of the corrupt site
            out[0] = np.array(turn, out.dtype)

    monkeypatch.setattr(FixedPoint, "encode", encode)
    others = {0: 0.25, 1: 0.0, 2: 0.0}
    check_a_record_moves_no_more_than_noise_covers(checked, others, tmp_path)


def test_a_round_under_central_noise_moves_by_the_mean_and_the_noise(tmp_path: Path) -> None:
    checked = scenario()
    made = parts(checked, run="run", ledgers=tmp_path / "noisy")
    assembled = join(made)
    start = replace(assembled.start, round=2)
    moved = engine.play_round(assembled.federation, start).state.weights - start.weights
    rows = torch.stack(
        [trainer.fit(start.weights, round=2).delta for trainer in made.trainers.values()]
    )
    noise = noisy_mean(checked, checked.facts.common_noise, stream_for(checked))
    assert noise is not None
    expected = noise(view_of(rows, [200.0, 173.0, 31.0, 86.0]), 2)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)
    mean = torch.tensor([200.0, 173.0, 31.0, 86.0]) @ rows / 490
    assert float((expected - mean).norm()) > 1e-3


def test_where_others_add_the_noise_the_rule_stays() -> None:
    assert noisy_mean(scenario(MASKED, "privacy.place='distributed'"), 2.0, seeded) is None
    assert noisy_mean(scenario("privacy.place='local'"), 2.0, seeded) is None
    assert noisy_mean(scenario("privacy.epsilon=inf"), 0.0, seeded) is None
