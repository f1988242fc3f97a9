"""Source inference: which client trained on a record?"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import attacks
from securefl.audit.exposure.look import Look
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.audit.membership import Question
from securefl.audit.repertoire import SOURCE
from securefl.data.task import Examples, concatenate

MAX_RECORDS_PER_CLIENT = 20  # whose source is asked


def source(look: Look) -> Exposure:
    """Returns how often the client that trained on a record is named, next to guessing.

    Asked are the clients that are seen by themselves in the same rounds, as many as possible.
    Guessing names the client with the most of these records.
    """
    rounds = _local_models(look)
    clients = _most_seen(list(rounds.values()))
    if len(clients) < 2:
        return Exposure(
            SOURCE, "needs the updates of two clients or more in a round, each by itself"
        )
    # Losses of models of different rounds do not compare: each round judges all of the clients.
    together = [models for models in rounds.values() if set(clients) <= set(models)]
    parts = [_some_records(look, client) for client in clients]
    examples = concatenate(parts)
    sizes = torch.tensor([len(part) for part in parts])
    truth = torch.repeat_interleave(torch.arange(len(clients)), sizes)
    losses = _losses(look, examples, clients, together)
    named = attacks.source_inference(losses)
    right = (named == truth).double()
    shares = sizes.double() / len(truth)
    rounds_used = "a round" if len(together) == 1 else f"{len(together)} rounds"
    why = (
        f"whose of {len(clients)} clients a training record is, {len(examples)} records asked, "
        f"by {rounds_used}"
    )
    return Exposure(
        SOURCE,
        why,
        "share",
        float(right.mean()),
        float(shares.max()),
        error=error_of_share(len(right)),
    )


def _local_models(look: Look) -> dict[int, dict[int, Tensor]]:
    """Round -> client -> its local model (d,), of clients that are seen by themselves."""
    rounds: dict[int, dict[int, Tensor]] = {}
    for client, knowledge in look.knowledge.items():
        for sight in knowledge.moves:
            if sight.alone and sight.model is not None and sight.moved is not None:
                rounds.setdefault(sight.round, {})[client] = sight.model + sight.moved
    return rounds


def _most_seen(rounds: Sequence[Mapping[int, Tensor]]) -> list[int]:
    """The clients of the first round that shows as many as any."""
    largest = max((len(models) for models in rounds), default=0)
    return next((list(models) for models in rounds if len(models) == largest), [])


def _losses(
    look: Look,
    examples: Examples,
    clients: Sequence[int],
    rounds: Sequence[Mapping[int, Tensor]],
) -> Tensor:
    """(rounds, clients, records), the loss of each local model on each record."""
    question = Question(examples, examples, look.model, look.task, None)
    return torch.stack(
        [torch.stack([question.losses(models[client]) for client in clients]) for models in rounds]
    )


def _some_records(look: Look, client: int) -> Examples:
    """Some training records of a client, at random."""
    train = look.data.sites[client].train
    order = look.inquiry.stream(f"asked {client}").permutation(len(train))
    chosen = torch.from_numpy(order)[:MAX_RECORDS_PER_CLIENT]
    return Examples(train.features[chosen], train.labels[chosen])
