"""Whose a record is, among clients whose updates are seen by themselves."""

import torch
from torch import Tensor

import attacks
from securefl.audit.exposure.look import Look
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.audit.membership import Question
from securefl.data.task import Examples, concatenate

_ASKED = 20  # records a client whose source is asked for


def source(look: Look) -> Exposure:
    """How often the client that trained on a record is found, among those seen by themselves in the same rounds."""
    rounds: dict[int, dict[int, Tensor]] = {}
    for client, known in look.knowledge.items():
        for sight in known.moves:
            if sight.alone and sight.model is not None and sight.moved is not None:
                rounds.setdefault(sight.round, {})[client] = sight.model + sight.moved
    most = max(map(len, rounds.values()), default=0)
    clients = next((list(models) for models in rounds.values() if len(models) == most), [])
    if len(clients) < 2:
        return Exposure(
            "source", "needs the updates of two clients or more in a round, each by itself"
        )
    together = [models for models in rounds.values() if set(clients) <= set(models)]
    asked = [_asked(look, client) for client in clients]
    examples = concatenate(asked)
    question = Question(examples, examples, look.model, look.task, None)
    losses = torch.stack(
        [
            torch.stack([question.losses(models[client]) for client in clients])
            for models in together
        ]
    )
    whose = torch.repeat_interleave(
        torch.arange(len(clients)), torch.tensor([len(part) for part in asked])
    )
    right = (attacks.source_inference(losses) == whose).double()
    shares = torch.bincount(whose).double() / len(whose)
    several = "a round" if len(together) == 1 else f"{len(together)} rounds"
    why = f"whose of {len(clients)} clients a training record is, {len(examples)} records asked, by {several}"
    return Exposure(
        "source",
        why,
        "share",
        float(right.mean()),
        float(shares.max()),
        error=error_of_share(len(right)),
    )


def _asked(look: Look, client: int) -> Examples:
    """Some training records of a client, at random."""
    train = look.data.sites[client].train
    order = torch.from_numpy(look.inquiry.stream(f"asked {client}").permutation(len(train)))[
        :_ASKED
    ]
    return Examples(train.features[order], train.labels[order])
