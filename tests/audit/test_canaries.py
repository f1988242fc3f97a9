"""Gradient canaries enter DP-SGD as records do, and are found again by their coordinates."""

import math

import pytest
import torch
from torch import Tensor

from securefl import vector
from securefl.audit.canaries import LOUDNESS, MAX_CANARIES, MIN_COORDINATES, Canaries, CanaryDpSgd
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.linear import mlp
from securefl.learning.options import USUAL, StepOptions, adam
from securefl.learning.plan import DpPlan
from securefl.rng import seeded_keystream

TASK = Task(features=40, classes=2)


def model() -> torch.nn.Module:
    return mlp(TASK, hidden=(30,), generator=torch.Generator().manual_seed(1))


D = len(vector.to_vector(model()))


def canaries(seed: int = 1, *, norm: float = 10.0) -> Canaries:
    return Canaries(D, norm=norm, stream=seeded_keystream(seed, "canaries"))


def examples(count: int = 30) -> Examples:
    generator = torch.Generator().manual_seed(2)
    return Examples(
        torch.randn(count, 40, generator=generator), torch.randint(2, (count,), generator=generator)
    )


def trained(hidden: Canaries | None, *, rate: float, noise: float = 0.0, steps: int = 1) -> Tensor:
    """The noisy sum of the steps, not yet over the normaliser."""
    start = vector.to_vector(model())
    machine = DpSgd(model(), TASK, lr=1.0)
    if hidden is not None:
        machine = CanaryDpSgd(model(), TASK, lr=1.0, canaries=hidden)
    total = torch.zeros_like(start)
    plan = DpPlan(records=10, batch=round(10 * rate), epochs=1, clip=1.0, noise_multiplier=noise)
    for step in range(steps):
        streams = (seeded_keystream(step, "poisson"), seeded_keystream(step, "noise"))
        total -= (
            machine.run(start, examples(), plan, sampling=streams[0], noise=streams[1]).delta
            * plan.normaliser
        )
    return total


def test_canaries_do_not_touch_each_other_and_half_of_them_are_in() -> None:
    hidden = canaries()
    assert len(hidden) == min(MAX_CANARIES, D) == len(set(hidden.coordinates.tolist()))
    inside = float(hidden.inside.double().mean())
    assert inside == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(hidden)))
    assert float(hidden.signs.mean()) == pytest.approx(0.0, abs=4 / math.sqrt(len(hidden)))
    rows = hidden.gradients(torch.arange(20), D)
    members = hidden.inside.nonzero()[:20, 0]
    assert torch.equal(rows @ rows.T, 100 * torch.eye(20))
    assert torch.equal(
        rows[torch.arange(20), hidden.coordinates[members]], 10 * hidden.signs[members].float()
    )


def test_a_step_moves_by_the_clip_along_every_canary_inside_and_no_other() -> None:
    """Every record is in the step: canaries add their clipped gradients to the sum."""
    hidden = canaries()
    moved = trained(hidden, rate=1.0) - trained(None, rate=1.0)
    along = hidden.signs * moved[hidden.coordinates]
    assert torch.allclose(
        along[hidden.inside], torch.ones(int(hidden.inside.sum()), dtype=torch.float64), atol=1e-4
    )
    assert torch.allclose(along[~hidden.inside], torch.zeros(1, dtype=torch.float64), atol=1e-4)


def test_scores_are_how_far_the_weights_went_against_the_gradients() -> None:
    hidden = canaries()
    along = torch.zeros(D)
    along[hidden.coordinates] = -3.0 * hidden.signs.float()
    assert torch.equal(hidden.scores(along), torch.full((len(hidden),), 3.0, dtype=torch.float64))


def test_sampled_canaries_come_as_often_as_records() -> None:
    hidden = canaries()
    scores = hidden.signs * trained(hidden, rate=0.3, steps=3)[hidden.coordinates]
    real = hidden.signs * trained(None, rate=0.3, steps=3)[hidden.coordinates]
    # 3 runs of 4 steps, each with probability .3
    times = float((scores - real)[hidden.inside].mean())
    assert times == pytest.approx(
        3.6, abs=4 * math.sqrt(12 * 0.21 / int(hidden.inside.sum())) + 1e-3
    )


def test_a_quiet_canary_is_not_clipped_up() -> None:
    hidden = canaries(norm=0.25)
    moved = hidden.signs * (trained(hidden, rate=1.0) - trained(None, rate=1.0))[hidden.coordinates]
    assert torch.allclose(moved[hidden.inside], torch.tensor(0.25, dtype=torch.float64), atol=1e-4)


def test_a_small_model_has_no_room_for_canaries() -> None:
    with pytest.raises(
        ValueError,
        match=rf"a model of {MIN_COORDINATES} coordinates or more, got {MIN_COORDINATES - 1}",
    ):
        Canaries(MIN_COORDINATES - 1, norm=LOUDNESS, stream=seeded_keystream(1, "canaries"))
    assert (
        len(Canaries(3 * MAX_CANARIES, norm=1.0, stream=seeded_keystream(1, "canaries")))
        == MAX_CANARIES
    )


OPTIONS = {
    "as usual": USUAL,
    "half the rate, class weights, four records at once": StepOptions(
        schedule=lambda round: 0.5**round,
        class_weights=(0.2, 3.0),
        physical_batch=4,
    ),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_canaries_note_what_the_real_records_did_to_the_update(options: StepOptions) -> None:
    """One step without noise that has every record: the canaries note the rest of the update."""
    hidden, start = canaries(), vector.to_vector(model())
    plan = DpPlan(records=10, batch=10, epochs=1, clip=0.7, noise_multiplier=0.0)

    def delta(machine: DpSgd) -> Tensor:
        sampling, noise = seeded_keystream(1, "poisson"), seeded_keystream(1, "noise")
        return machine.run(start, examples(), plan, sampling=sampling, noise=noise, round=1).delta

    with_them = delta(hidden.machine(model(), TASK, lr=0.5, options=options))
    alone = delta(DpSgd(model(), TASK, lr=0.5, options=options))
    assert not torch.allclose(with_them, alone, atol=1e-3)
    (known,) = hidden.others
    assert torch.allclose(known.float(), alone, atol=1e-6)
    assert float(known.norm()) > 0.01


def test_under_adam_nobody_can_take_the_other_records_out_of_an_update() -> None:
    hidden, start = canaries(), vector.to_vector(model())
    plan = DpPlan(records=10, batch=10, epochs=1, clip=0.7, noise_multiplier=0.0)
    machine = hidden.machine(model(), TASK, lr=0.5, options=StepOptions(optimizer=adam))
    sampling, noise = seeded_keystream(1, "poisson"), seeded_keystream(1, "noise")
    delta = machine.run(start, examples(), plan, sampling=sampling, noise=noise).delta
    assert hidden.others == []
    # The canaries are in the update all the same.
    scores = hidden.scores(delta)
    assert float(scores[hidden.inside].mean()) > 0.9 * 0.5
