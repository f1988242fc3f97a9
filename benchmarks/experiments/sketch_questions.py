"""Membership from sketches: a colluding client turns its own update into a question.

It submits a direction, and tells the server which. The server reads the scalar product of every
client's update with that direction from the squared distances, to about one over the root of the
sketch's size. Here the direction is the gradient of a record, downhill: clients that trained on the
record went further that way.
"""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

import attacks
from benchmarks.experiments.sketch_rounds import (
    CLIENTS,
    GROUP_SIZE,
    SIZES,
    Moment,
    Sites,
    groups,
    matrix,
    mean,
    moments,
    sites,
)
from benchmarks.experiments.table import NO_GOAL, Row, plus_minus, show
from benchmarks.experiments.training import Sgd, part
from securefl.audit.membership import gradients
from securefl.data.task import Examples, concatenate
from securefl.rng import Keystream, seeded_keystream

SEEDS = tuple(range(810, 815))
RECORDS = 800  # 40 a client
LOCAL = Sgd(batch=16, epochs=5, lr=0.3)  # enough for a client to learn its records by heart
WARM_UP = 2  # rounds before the first question
ROUNDS = 5
_MEMBERS_ASKED = 10  # records of each client
_OTHERS_ASKED = 200
_LENGTH = 100.0  # of a question, in lengths of a usual update
FULL = "the whole update"
SUM = "the sum of 20, with or without distances"
GROUP = "the sum of its group of 4"
_OF_ONE_COLLUDER = ", less the update of one colluder"
SUM_ASKED, GROUP_ASKED = SUM + _OF_ONE_COLLUDER, GROUP + _OF_ONE_COLLUDER


def rows() -> Iterator[Row]:
    """Yields the AUC of each observer, after one round and after five."""
    by_seed = [measured(seed) for seed in SEEDS]
    for name in by_seed[0]:
        single, several = (
            plus_minus([found[name][rounds] for found in by_seed], digits=3)
            for rounds in (0, ROUNDS - 1)
        )
        text = f"AUC {single} after one round, {several} after {ROUNDS}"
        yield Row(name, NO_GOAL, text, True)


def measured(seed: int) -> dict[str, list[float]]:
    """Returns observer -> AUC after each round of questions, a mean over all clients.

    Each record is asked about once a round: a question shows all clients' scalar products.
    """
    dealt = sites(seed, records=RECORDS, alpha=None)
    stream = seeded_keystream(seed, "matrices")
    asked = _asked(dealt)
    totals: dict[str, Tensor] = {}
    found: dict[str, list[float]] = defaultdict(list)
    for moment in moments(dealt, LOCAL, rounds=WARM_UP + ROUNDS, seed=seed, estimate=mean):
        if moment.round < WARM_UP:
            continue
        for name, scores in _scores(dealt, moment, asked, stream).items():
            totals[name] = totals.get(name, 0.0) + scores
            found[name].append(_mean_auc(totals[name]))
    return found


def _asked(dealt: Sites) -> Examples:
    """Returns ten records of each client, client by client, and then records of nobody."""
    own = [part(records, torch.arange(_MEMBERS_ASKED)) for records in dealt.records]
    return concatenate([*own, part(dealt.others, torch.arange(_OTHERS_ASKED))])


def _scores(dealt: Sites, moment: Moment, asked: Examples, stream: Keystream) -> dict[str, Tensor]:
    """Returns observer -> scores (records, clients) of one round."""
    steps = -gradients(dealt.model, dealt.task, asked, moment.weights)
    questions = steps / steps.norm(dim=1, keepdim=True)
    usual = float(moment.rows.norm(dim=1).median())
    seen = seen_in_the_clear(moment.rows)
    scores = {name: questions @ rows.T / usual for name, rows in seen.items()}
    for size in SIZES:
        answers = [answer(moment.rows, question, size, stream) for question in questions]
        scores[asked_by(size)] = torch.stack(answers) / usual
    return scores


def seen_in_the_clear(rows: Tensor) -> dict[str, Tensor]:
    """Returns observer -> what it sees with each client's update in it, (clients, d)."""
    everybody = rows.sum(dim=0).expand(len(rows), -1)
    group = GROUP_SIZE * groups(rows)
    # Anybody else may be the colluder: the next client of the group.
    by_group = rows.reshape(-1, GROUP_SIZE, rows.shape[1])
    colluders = by_group.roll(-1, dims=1).reshape(rows.shape)
    return {
        FULL: rows,
        SUM: everybody,
        SUM_ASKED: everybody - colluders,
        GROUP: group,
        GROUP_ASKED: group - colluders,
    }


def asked_by(size: int) -> str:
    """Returns the name of the observer of distances between sketches of a size."""
    return f"distances between sketches of {size}, one colluder"


def answer(rows: Tensor, question: Tensor, size: int, stream: Keystream) -> Tensor:
    """Returns what a server learns of the scalar products (n,) of rows with a direction (d,).

    It sees squared distances between sketches of the rows and of the colluder's update, which is
    the direction made so long that the sketches' own lengths drop out.
    """
    drawn = matrix(size, rows.shape[1], stream)
    length = _LENGTH * float(rows.norm(dim=1).median())
    colluder = (drawn @ question).double() * length
    squared = ((rows @ drawn.T).double() - colluder).square().sum(dim=1)
    return (colluder.square().sum() - squared) / (2 * length)


def _mean_auc(scores: Tensor) -> float:
    """Returns how well each client's own records stand out from records of nobody, on average."""
    others = scores[-_OTHERS_ASKED:]
    areas = [
        attacks.auc(scores[client * _MEMBERS_ASKED :][:_MEMBERS_ASKED, client], others[:, client])
        for client in range(CLIENTS)
    ]
    return sum(areas) / len(areas)


if __name__ == "__main__":
    show(rows())
