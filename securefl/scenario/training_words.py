"""The way of training in words, for `securefl validate`."""

from collections.abc import Callable, Mapping
from typing import Any

from securefl.scenario.training_table import Training

# Key of [training] -> how a given value reads.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "optimizer": str,
    "momentum": lambda value: f"momentum {value:g}",
    "weight_decay": lambda value: f"weight decay {value:g}",
    "algorithm": str,
    "mu": lambda value: f"mu {value:g}",
    "alpha": lambda value: f"alpha {value:g}",
    "lam": lambda value: f"lam {value:g}",
    "head_epochs": lambda value: f"head_epochs {value:g}",
    "fine_tune": lambda value: f"fine_tune {value:g}",
    "schedule": lambda value: f"schedule {value}",
    "class_weights": lambda value: f"class weights {', '.join(f'{w:g}' for w in value)}",
    "sample_rate": lambda value: f"each record with probability {value:g}",
    "clip_quantile": lambda value: f"clip at the {value:g} quantile",
    "clip_lr": lambda value: f"clip_lr {value:g}",
    "ema": lambda value: f"moving average of models {value:g}",
    "physical_batch": lambda value: f"{value} records at once",
}


def training_words(training: Training) -> str:
    """Returns the way of training, and how it differs from plain steps."""
    given = {key: getattr(training, key) for key in _WORDS}
    words = [_WORDS[key](value) for key, value in given.items() if value is not None]
    return f"{training.kind} ({', '.join(words)})" if words else training.kind
