"""Gradient descent: the bits of torch's own, and none of torch's compiler."""

import subprocess
import sys

import torch
from torch import nn

from securefl.learning.descent import GradientDescent


def test_steps_are_those_of_torchs_sgd_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, generator=generator)
    ours = nn.Parameter(start.clone())
    theirs = nn.Parameter(start.clone())
    descent = GradientDescent([ours], lr=0.3)
    reference = torch.optim.SGD([theirs], lr=0.3)
    for _ in range(3):
        gradient = torch.randn(50, generator=generator)
        ours.grad = gradient.clone()
        theirs.grad = gradient.clone()
        descent.step()
        reference.step()
        assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)


def test_a_parameter_without_a_gradient_stays_and_gradients_are_forgotten() -> None:
    moved, still = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    descent = GradientDescent([moved, still], lr=1.0)
    moved.grad = torch.ones(2)
    descent.step()
    assert moved.tolist() == [0.0, 0.0]
    assert still.tolist() == [1.0, 1.0]
    descent.zero_grad()
    assert moved.grad is None
    descent.step()
    assert moved.tolist() == [0.0, 0.0]


def test_a_round_of_training_loads_neither_torchs_compiler_nor_scikit_learn() -> None:
    # Each costs over a second of CPU in every worker process.
    code = """if True:
    import sys, tempfile
    from pathlib import Path
    from securefl.runs import api
    from securefl.scenario.scenario import parse_scenario
    for text in (
        'training = { kind = "sgd" }\\ndata = { name = "digits", clients = 2 }',
        'privacy = { epsilon = 8.0, delta = 1e-5 }',
    ):
        with tempfile.TemporaryDirectory() as folder:
            api.run(parse_scenario('rounds = 1\\n' + text), Path(folder, "run"))
    print(*sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch._dynamo", "sklearn"}
