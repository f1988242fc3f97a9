"""LiRA on digits with wrong labels: each model is attacked with the others as its shadows."""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.inference.membership import lira_online
from attacks.measures.scores import at_false_positive_rate, auc
from securefl.audit.inquiry import rehearsed
from securefl.audit.knowledge import Watcher
from securefl.audit.membership import Question
from securefl.audit.replay import replay
from securefl.audit.threats import THREATS
from securefl.data.rehearsal import drawn
from securefl.scenario.assemble.data import load_data, pool_of
from securefl.scenario.scenario import parse_scenario

SCENARIO = """
rounds = 10
weights = "equal"
data = { name = "digits", partition = "pooled", label_noise = 0.2 }
model = { name = "mlp", hidden = [100] }
training = { kind = "sgd", batch = 32, epochs = 20, lr = 0.3 }
"""
_SHADOWS = 32
_FIRST_SEED = 1000
_COIN_SEED = 500  # of the control
_RATE = 0.001  # of false positives


class Measured(NamedTuple):
    """LiRA's success over all records and models."""

    area: float  # AUC
    hits: float  # true-positive rate at a false-positive rate of 0.1 %
    control: float  # AUC between two random halves of the non-members
    seconds: float  # of CPU, training included


def lira() -> Measured:
    """Trains all models, and attacks each of them."""
    start = time.process_time()
    confidences, inside = _trained()
    members = []
    nonmembers = []
    for target in range(len(confidences)):
        rest = torch.arange(len(confidences)) != target
        scores = lira_online(confidences[target], confidences[rest], inside[rest], pooled=None)
        members.append(scores[inside[target]])
        nonmembers.append(scores[~inside[target]])
    seconds = time.process_time() - start
    member_scores = torch.cat(members)
    nonmember_scores = torch.cat(nonmembers)
    operating = at_false_positive_rate(member_scores, nonmember_scores, at=_RATE, confidence=0.95)
    # Halves of the non-members differ by nothing: an AUC other than 0.5 would be a fault here.
    generator = torch.Generator().manual_seed(_COIN_SEED)
    coins = torch.rand(len(nonmember_scores), generator=generator) < 0.5
    return Measured(
        auc(member_scores, nonmember_scores),
        math.nan if operating is None else operating.true_positive_rate,
        auc(nonmember_scores[coins], nonmember_scores[~coins]),
        seconds,
    )


def _trained() -> tuple[Tensor, Tensor]:
    """Returns confidences, and whether a model trained with the record, (models, n) each."""
    scenario = parse_scenario(SCENARIO)
    data = load_data(scenario)
    pool = pool_of(scenario, data, 0)
    watcher = Watcher(THREATS["outsider"], (), 0, "plain")
    seeds = range(_FIRST_SEED, _FIRST_SEED + _SHADOWS + 1)
    confidences = []
    # Every model is trained on the half of the records that its own coins draw.
    for seed in seeds:
        scenario_of_one = rehearsed(scenario, 0, seed, offset=seed)
        played = replay(scenario_of_one, [watcher], on_round=lambda record: None)
        question = Question(pool.examples, pool.examples, played.assembled.model, data.task, None)
        confidences.append(question.confidences(played.weights))
    return torch.stack(confidences), torch.stack([drawn(pool, seed) for seed in seeds])


def lira_line() -> str:
    """Trains and attacks; returns one sentence with the figures."""
    area, hits, control, seconds = lira()
    figures = f"AUC {area:.3f}, TPR at .1 % FPR {hits:.3%}, non-members alone AUC {control:.3f}"
    return (
        f"LiRA, digits with 20 % label noise, {_SHADOWS} shadows: {figures}; "
        f"{seconds:.0f} s of CPU with training."
    )
