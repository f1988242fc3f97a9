"""Rounds whose rule chooses by sketches, played with every update in the clear, for studies.

A study of a rule under `sketch` asks for the model that comes out, not for secrecy. Here the server
gets each update, encodes it as its client would, and computes sketches, distances, choice, sum and
blame with the functions of the masked channel. Shares are constants: a polynomial of degree 0 is
one of degree 2 c, too. So the view is that of the masked channel, at a tenth of the time.

It protects nothing, and no scenario may take it for the masked channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.channels.masking.opening import decoded, hold
from securefl.channels.masking.sketches.blame import Opened
from securefl.channels.masking.sketches.choosing import Suspects, agrees, chosen_of, compared
from securefl.channels.masking.sketches.context import Facts, fewest_chosen
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.findings import Findings
from securefl.channels.masking.sketches.inquiry import verdict_on
from securefl.channels.masking.sketches.lying import victim_of
from securefl.channels.masking.sketches.matrix import centred, digest_of_words
from securefl.channels.masking.sketches.words import encoded_words
from securefl.channels.masking.stream import add_words
from securefl.channels.masking.terms import masked_terms
from securefl.channels.plain import PlainClient, PlainServer
from securefl.channels.protocol import UNWATCHED, ClientUpdate, Observer, Plan, Sides, View
from securefl.errors import RoundAbandoned

Words = Mapping[int, NDArray[Any]]  # client -> (m,)
Sketches = Mapping[int, Sequence[int]]  # client -> k integers


class RehearsingServer(PlainServer):
    """The server of a rehearsal: it sees everything, and opens what a masked server would open.

    Args:
        plan: the public constants, with the rule.
        options: of the masked channel.
    """

    def __init__(self, plan: Plan, **options: Any) -> None:
        if plan.selection is None:
            raise ValueError("a rehearsal needs a rule that chooses")
        self._plan = plan
        self._selection = plan.selection
        self._terms = masked_terms(plan, **options)
        self._block: tuple[int, ...] = ()
        self._findings = Findings()
        fewest = self._terms.fewest(plan.cohort)
        super().__init__(plan.session, d=plan.d, min_cohort=fewest, weights=plan.weights)

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """Starts a round, without the clients that were named."""
        self._block = tuple(sorted(cohort))
        # As many as the masked channel takes. Whether their shares would tell the distances is seen
        # as it sees it, when these are decoded: a liar that is silent sends no wrong share.
        self._min_cohort = self._terms.fewest(len(self._block))
        present = [client for client in self._block if client not in self._findings.named]
        super().begin(round, present, model_hash, observer)

    def close_stage(self) -> View:
        """Returns the view that the masked channel would open.

        Raises:
            RoundAbandoned: too few updates came, the rule chose too few, or the sum disagrees with
                the sketches. It names the liars that were found.
        """
        rows = super().close_stage()
        words = {
            client: self._encoded(client, row)
            for (client,), row in zip(rows.members, rows.rows, strict=True)
        }
        try:
            return self._played(words)
        except RoundAbandoned as reason:
            self._findings.add(reason.named, reason.paired)
            raise

    def _encoded(self, client: int, row: torch.Tensor) -> NDArray[Any]:
        weights = self._terms.weights or {}
        update = ClientUpdate(row, weights[client], None, b"")
        stream = self._plan.stream_for("rounding", client, self._round)
        return encoded_words(update, weights[client], self._terms, stream=stream)

    def _played(self, words: Words) -> View:
        terms = self._terms
        digests = {client: digest_of_words(upload) for client, upload in words.items()}
        nonce = self._plan.stream_for("nonce", 0, self._round).bytes(32)
        matrix = Facts(terms, self._round, nonce, b"", digests).matrix
        sketches = matrix.sketches(list(words.values()))
        honest = {c: centred(sketch) for c, sketch in zip(words, sketches, strict=True)}
        dealt = {c: self._dealt(c, sketch) for c, sketch in honest.items()}
        before = self._findings.suspects(terms)
        distances = compared(
            dict.fromkeys(words, _constants(dealt, terms.weights or {})),
            dealers=tuple(words),
            suspects=before,
            rejections=(),
            block=self._block,
            terms=terms,
        )
        fewest = fewest_chosen(terms)
        chosen = chosen_of(distances, self._selection, fewest=fewest)
        # The sketch of the sum is the sum of the true sketches modulo 2^32.
        expected = [value % 2**32 for value in _summed(honest, chosen)]
        if not agrees(_summed(dealt, chosen), expected, clients=len(chosen)):
            raise self._verdict(chosen, honest, dealt, distances.suspects, tuple(words))
        found = distances.suspects
        newly_named = {c: why for c, why in found.named.items() if c not in before.named}
        self._findings.add(newly_named)
        return replace(
            self._opened(words, chosen),
            left_out=tuple(c for c in words if c not in chosen and c not in newly_named),
            named=newly_named,
            paired=found.paired[len(before.paired) :],
        )

    def _dealt(self, client: int, sketch: Sequence[int]) -> Sequence[int]:
        """Returns the sketch that a client deals, as `LyingClient` does."""
        lie = self._selection.lies.get(client)
        return sketch if lie is None else [round(lie.factor * value) for value in sketch]

    def _opened(self, words: Words, chosen: tuple[int, ...]) -> View:
        """Returns the mean of the chosen clients' updates, read from the sum of their words."""
        terms = self._terms
        total = np.zeros(terms.words, dtype=terms.code.word)
        for client in chosen:
            add_words(total, words[client])
        weights = terms.weights or {}
        weight = sum(weights[client] for client in chosen)
        opened = decoded(total, terms, round=self._round)
        hold(opened, terms, weight=weight, survivors=len(chosen))
        opened *= terms.max_weight / weight
        mean = torch.from_numpy(opened).to(torch.float32)
        return View(
            mean.unsqueeze(0), torch.tensor([float(weight)], dtype=torch.float64), (chosen,)
        )

    def _verdict(
        self,
        chosen: tuple[int, ...],
        honest: Sketches,
        dealt: Sketches,
        suspects: Suspects,
        holders: tuple[int, ...],
    ) -> RoundAbandoned:
        """Returns the end of the round, as stages 9 and 10 would find it."""
        spoken = dict(dealt)
        disputed: set[tuple[int, int]] = set()
        for client in chosen:
            lie = self._selection.lies.get(client)
            if lie is None or not lie.hide:
                continue
            partners = [other for other in chosen if other != client]
            victim = victim_of(client, partners, liars=self._selection.lies)
            if victim is not None:
                # The liar's sketch of one mask makes up for its lie.
                spoken[client] = honest[client]
                disputed.add((min(client, victim), max(client, victim)))
        answer = Opened(
            frozenset(),
            {
                (i, j): int((i, j) in disputed)
                for place, i in enumerate(chosen)
                for j in chosen[place + 1 :]
            },
            {client: [value % P for value in spoken[client]] for client in chosen},
        )
        return verdict_on(
            dict.fromkeys(holders, answer),
            {c: np.array(honest[c], dtype=np.int64).astype(np.uint32) for c in chosen},
            suspects,
            block=self._block,
            dealers=chosen,
            terms=self._terms,
        )


def _constants(dealt: Sketches, weights: Mapping[int, int]) -> dict[tuple[int, int], int]:
    """Returns a pair of clients -> its weighted squared distance, a share of itself."""
    clients = sorted(dealt)
    return {
        (i, j): sum(
            (weights[j] * a - weights[i] * b) ** 2 for a, b in zip(dealt[i], dealt[j], strict=True)
        )
        % P
        for place, i in enumerate(clients)
        for j in clients[place + 1 :]
    }


def rehearsed_sides(plan: Plan, **options: Any) -> Sides:
    """Returns both sides of a channel that rehearses the masked one in the clear."""
    clients = {client: PlainClient(client, plan.session) for client in plan.clients}
    return Sides(RehearsingServer(plan, **options), clients)


def _summed(sketches: Sketches, chosen: Sequence[int]) -> list[int]:
    """Returns the sum (k,) of some clients' sketches."""
    return [sum(values) for values in zip(*(sketches[client] for client in chosen), strict=True)]
