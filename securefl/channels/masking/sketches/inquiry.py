"""Stages 9 and 10 as the server sees them: who lied, where the sum and the sketches disagree.

`blame` describes both stages, `judging` judges their answers. This file decides which replies
count.
"""

import secrets
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import RoundKey
from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.requests import Addressed
from securefl.channels.masking.round_secrets import pair_mask_key, self_mask_key
from securefl.channels.masking.sketches.blame import Opened
from securefl.channels.masking.sketches.choosing import Suspects
from securefl.channels.masking.sketches.context import points_of, sketching_of
from securefl.channels.masking.sketches.dealings import Dealings
from securefl.channels.masking.sketches.judging import Blame, expected_residue, judged
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.sketches.replies import BlameShares, clients_of
from securefl.channels.masking.sketches.requests import CHALLENGE_BYTES, BlameRequest, Challenge
from securefl.channels.protocol import Seen
from securefl.errors import ProtocolError, RoundAbandoned


class Inquiry:
    """The server's account of stages 9 and 10.

    Args:
        terms: of the session.
        round: its number.
        block: the invited clients, ascending.
        holders: the clients that hold shares, ascending.
        chosen: the clients of the sum, ascending.
        context: digest of what dealings of pair sketches are about.
    """

    def __init__(
        self,
        terms: Agreement,
        round: int,
        block: tuple[int, ...],
        *,
        holders: tuple[int, ...],
        chosen: tuple[int, ...],
        context: bytes,
    ) -> None:
        self._terms = terms
        self._round = round
        self._block = block
        self._chosen = chosen
        self._size = sketching_of(terms).size
        values = (len(chosen) - 1) * self._size
        self._dealings = Dealings(terms, round, holders, context, values=values, zeros=0)
        # Drawn by now already, and shown after all dealings have arrived.
        self._challenge = secrets.token_bytes(CHALLENGE_BYTES)
        self._answers: dict[int, Opened] = {}

    def request(self, stage: int, client: int) -> Addressed:
        """Returns the request of stage 9 or 10."""
        head = (self._terms.session, self._round, client)
        if stage == 9:
            return BlameRequest(*head)
        boxes = self._dealings.boxes_for(client)
        return Challenge(*head, self._challenge, self._dealings.signed, boxes)

    def absorb(self, stage: int, client: int, body: memoryview) -> Seen:
        """Takes one reply whose signature was verified. Raises ProtocolError: it is illegal."""
        if stage == 9:
            self._dealings.take(client, body)
            return Seen.SKETCH_SHARES
        self._answers[client] = self._opened(client, body)
        return Seen.REVEALED_SHARES

    def _opened(self, client: int, body: memoryview) -> Opened:
        """Returns the answer of stage 10, its elements in their places."""
        dealers = self._dealings.dealers
        most = _elements(len(dealers), self._size)
        sent = BlameShares.from_bytes(body, most=most)
        if (sent.session, sent.round, sent.sender) != (self._terms.session, self._round, client):
            raise ProtocolError("another session, round or sender")
        rejected = clients_of(sent.rejected, self._block)
        accepted = [dealer for dealer in dealers if dealer not in rejected]
        if len(sent.elements) != _elements(len(accepted), self._size):
            raise ProtocolError("not one share for each pair, and a sketch for each client")
        # Nobody rejects its own dealing.
        if not rejected <= set(dealers) - {client}:
            raise ProtocolError("a rejected client did not deal, or is the sender itself")
        pairs = list(combinations(accepted, 2))
        sums = {
            dealer: sent.elements[start : start + self._size]
            for dealer, start in zip(
                accepted, range(len(pairs), len(sent.elements), self._size), strict=True
            )
        }
        return Opened(rejected, dict(zip(pairs, sent.elements, strict=False)), sums)

    @property
    def dealers(self) -> tuple[int, ...]:
        """The chosen clients that dealt in stage 9."""
        return self._dealings.dealers

    def verdict(self, residues: Mapping[int, NDArray[Any]], suspects: Suspects) -> RoundAbandoned:
        """Returns the end of the round, with the clients and pairs that are at fault.

        Args:
            residues: chosen client -> the sketch, modulo 2^32, that its upload speaks for.
            suspects: found so far; their answers do not count.
        """
        return verdict_on(
            self._answers,
            residues,
            suspects,
            block=self._block,
            dealers=self.dealers,
            terms=self._terms,
        )


def verdict_on(
    answers: Mapping[int, Opened],
    residues: Mapping[int, NDArray[Any]],
    suspects: Suspects,
    *,
    block: tuple[int, ...],
    dealers: tuple[int, ...],
    terms: Agreement,
) -> RoundAbandoned:
    """Returns the end of a round whose sum disagrees with the sketches.

    Args:
        answers: holder -> its shares.
        residues: chosen client -> the sketch, modulo 2^32, that its upload speaks for.
        suspects: found so far; their answers do not count.
        block: the invited clients.
        dealers: chosen clients that dealt the sketches of their pair masks.
        terms: of the session.
    """
    heard = {client: answer for client, answer in answers.items() if client not in suspects.clients}
    blame = judged(
        heard,
        residues,
        points=points_of(block, tuple(heard)),
        dealt=dealers,
        degree=terms.corrupt,
        f=suspects.liars,
    )
    return RoundAbandoned(
        f"the sum disagrees with the sketches of its clients; {_described(blame)}",
        named=blame.named,
        paired=blame.pairs,
    )


def residues_of(
    uploads: Mapping[int, NDArray[Any]],
    matrix: Matrix,
    *,
    keys: Mapping[int, Advertisement],
    seeds: Mapping[int, bytes],
    mask_keys: Mapping[int, RoundKey],
    model_hash: bytes,
) -> dict[int, NDArray[Any]]:
    """Returns chosen client -> the sketch that its upload speaks for, modulo 2^32.

    Args:
        uploads: client -> its masked words (m,).
        matrix: of the round.
        keys: client -> its advertisement.
        seeds: chosen client -> the seed of its self mask.
        mask_keys: client that was not chosen -> its mask key.
        model_hash: names the model, to which pair masks are bound.
    """
    residues: dict[int, NDArray[Any]] = {}
    for client, seed in seeds.items():
        own = keys[client]
        outside: dict[int, bytes] = {}
        for other, mask_key in mask_keys.items():
            (agreed,) = mask_key.agree([own.mask_key])
            outside[other] = pair_mask_key(agreed, own, keys[other], model_hash=model_hash)
        residues[client] = expected_residue(
            matrix,
            uploads[client],
            client=client,
            self_mask=self_mask_key(seed, own),
            outside=outside,
        )
    return residues


def _elements(dealers: int, size: int) -> int:
    """Returns the elements of an answer about so many dealers."""
    return dealers * (dealers - 1) // 2 + dealers * size


def _described(blame: Blame) -> str:
    """Says who is out from now on."""
    found = [f"client {client} is out: {reason}" for client, reason in blame.named.items()]
    found += [f"one of the clients {low} and {high} lied" for low, high in blame.pairs]
    return "; ".join(found) if found else "nobody can be named"
