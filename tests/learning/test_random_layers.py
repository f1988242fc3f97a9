"""Dropout draws from the run's streams, so that a seeded run repeats whatever ran before."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer
from securefl.learning.sgd import SgdTrainer
from securefl.rng import Keystream, seeded_keystream, system_keystream
from tests.learning.steps import THREE, some_examples, whole


def with_dropout() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 3))


def fitted(private: bool, stream_for: Callable[[str, int, int], Keystream], round: int) -> Tensor:
    examples, model = some_examples(THREE, 12), with_dropout()
    weights = vector.to_vector(model)
    torch.manual_seed(round)  # whatever ran before
    if private:
        machine = DpSgd(model, THREE, lr=0.5)
        return (
            DpSgdTrainer(machine, examples, whole(12), client=0, stream_for=stream_for)
            .fit(weights, round=round)
            .delta
        )
    trainer = SgdTrainer(
        model,
        THREE,
        examples,
        client=0,
        batch=12,
        epochs=1,
        lr=0.5,
        stream_for=stream_for,
    )
    return trainer.fit(weights, round=round).delta


@pytest.mark.parametrize("private", [False, True])
def test_dropout_draws_from_the_runs_streams_and_from_nothing_else(private: bool) -> None:
    streams = partial(seeded_keystream, 1)
    first = fitted(private, streams, 0)
    torch.rand(17)
    torch.testing.assert_close(fitted(private, streams, 0), first, rtol=0, atol=0)
    other_rounds = [fitted(private, streams, round) for round in (1, 2)]
    for delta, following in pairwise([first, *other_rounds]):
        # A full batch without noise: nothing but dropout differs.
        assert float((delta - following).norm()) > 0.01
    fresh = [fitted(private, lambda purpose, client, round: system_keystream(), 0) for _ in "ab"]
    assert float((fresh[0] - fresh[1]).norm()) > 0.01


@pytest.mark.parametrize("private", [False, True])
def test_training_leaves_torchs_generator_as_it_was(private: bool) -> None:
    fitted(private, partial(seeded_keystream, 1), 3)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
