"""The way of training in words: what was set, in the words of its key."""

import pytest

from securefl.scenario.training_table import Training
from securefl.scenario.training_words import training_words

WORDS = [
    ({"optimizer": "adam"}, "adam"),
    ({"momentum": 0.9}, "momentum 0.9"),
    ({"weight_decay": 1e-4}, "weight decay 0.0001"),
    ({"algorithm": "fedprox", "mu": 0.1}, "fedprox, mu 0.1"),
    ({"alpha": 0.2}, "alpha 0.2"),
    ({"lam": 2.0}, "lam 2"),
    ({"head_epochs": 3}, "head_epochs 3"),
    ({"fine_tune": 2}, "fine_tune 2"),
    ({"schedule": "cosine"}, "schedule cosine"),
    ({"class_weights": (1.0, 2.5)}, "class weights 1, 2.5"),
    ({"sample_rate": 0.25}, "each record with probability 0.25"),
    ({"clip_quantile": 0.5, "clip_lr": 0.2}, "clip at the 0.5 quantile, clip_lr 0.2"),
    ({"ema": 0.9}, "moving average of models 0.9"),
    ({"physical_batch": 64}, "64 records at once"),
]


@pytest.mark.parametrize(("keys", "words"), WORDS, ids=range(len(WORDS)))
def test_each_key_has_its_words(keys: dict[str, object], words: str) -> None:
    assert training_words(Training(kind="sgd", **keys)) == f"sgd ({words})"  # type: ignore[arg-type]


def test_plain_steps_need_none() -> None:
    assert training_words(Training(kind="dp_sgd")) == "dp_sgd"
