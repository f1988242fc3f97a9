"""The package keeps what runs take for granted: python -m pytest test_midrange.py."""

import pytest
import torch
from securefl_midrange.attacks import crowd
from securefl_midrange.models import bottleneck
from securefl_midrange.rules import midrange, trimmed_midrange

from securefl.testing import check_attack, check_model, check_rule


def test_the_rule_keeps_the_contract() -> None:
    check_rule(midrange)


def test_the_midrange_by_hand() -> None:
    rows = torch.tensor([[99.0], [2.0], [3.0], [10.0], [1.0]])
    assert trimmed_midrange(rows, f=1).item() == 6.0


def test_the_attack_keeps_the_contract() -> None:
    check_attack(crowd)
    check_attack(crowd, parameters={"spread": 0.5})


@pytest.mark.parametrize("private", [False, True])
def test_the_model_keeps_the_contract(private: bool) -> None:
    check_model(bottleneck, private=private)
