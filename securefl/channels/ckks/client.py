"""The client's side of CKKS: it encrypts its update, and as a key holder it opens the sum."""

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.channels.ckks.cipher import KeyHolder
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.names import next_name
from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.messages import UpdateRequest, kind_of
from securefl.channels.protocol import ClientUpdate, View
from securefl.channels.update import check_asked, checked_weight
from securefl.errors import ProtocolError


class CkksClient:
    """Asked for an update, then for the opening of the sum; each once a round.

    Guarantees:
        - What leaves is encrypted, and no opened number ever leaves (Li and Micciancio, EUROCRYPT 2021: whoever sees
          decrypted CKKS values beside their ciphertexts can compute the key).
        - A sum is opened once a round, and only if it is said to hold min_cohort updates or more of this session's
          clients. That it does hold them is the server's word: a server that sends one update as the sum shows it
          to the key holders, never to itself.
        - A message that is malformed, foreign, old or under another key changes nothing.
        - Nothing that the server sees of a client depends on a number that was decrypted, or the server could read
          updates and the key off it. Sums that honest clients cannot have sent are held to the nearest that they
          can have sent, and models go by names that are computed from ciphertexts.
        - Opened numbers leave this class as float32; the float64 sum, with the noise of its ciphertext in the last
          digits, does not.

    Args:
        client: this client's id.
        terms: of the session.
        holder: the session's key.
    """

    def __init__(self, client: int, terms: CkksTerms, holder: KeyHolder) -> None:
        self._client, self._terms, self._holder = client, terms, holder
        self._asked: UpdateRequest | None = None
        self._model_name = b""  # of the model that this holder has, once it is the one asked for
        self._last_round = self._to_open = -1

    def receive(self, request: bytes) -> View | None:
        """None: train, then submit; a view: the sum, opened here.

        Raises:
            ProtocolError: malformed, another session or key, out of order, or too few updates in the sum.
        """
        if kind_of(request) == EncryptedSum.KIND:
            return self._open(request)
        asked = UpdateRequest.from_bytes(request)
        if asked.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        if asked.round <= self._last_round:
            raise ProtocolError(f"round {asked.round} was asked for before")
        self._asked, self._model_name = asked, b""
        self._last_round = self._to_open = asked.round
        return None

    def check_model(self, round: int, name: bytes) -> None:
        """Raise ProtocolError unless an update of this round, trained on this very model, was asked for."""
        self._model_name = check_asked(self._asked, name, round=round).model_hash

    def submit(self, update: ClientUpdate) -> bytes:
        """The update under encryption, once a round.

        Raises:
            ProtocolError: nothing was asked for, another model was trained, or the update cannot be encrypted.
        """
        asked = check_asked(self._asked, update.model_hash)
        self._model_name = asked.model_hash
        ciphertexts = self._holder.encrypt(self._numbers(update))
        self._asked = None
        return EncryptedUpdate(
            asked.session, asked.round, self._client, self._holder.key_id, ciphertexts
        ).to_bytes()

    def _numbers(self, update: ClientUpdate) -> NDArray[np.float64]:
        """W / w_max * the clipped delta, and w / w_max itself where weights are not public.

        Infinities are clipped and NaNs count as 0: a refusal would tell the server something about the
        records. Raises ProtocolError where the update does not fit the terms.
        """
        terms = self._terms
        weight = checked_weight(
            update, self._client, d=terms.d, weights=terms.weights, max_weight=terms.max_weight
        )
        numbers = np.full(terms.numbers, weight / terms.max_weight)
        delta = np.clip(update.delta.detach().double().numpy(), -terms.clip, terms.clip)
        numbers[: terms.d] *= np.where(np.isnan(delta), 0.0, delta)
        return numbers

    def _open(self, request: bytes) -> View:
        """One row: the weighted mean over the survivors."""
        terms = self._terms
        sum_ = EncryptedSum.from_bytes(request, chunks=terms.chunks, most=terms.cohort)
        if sum_.session != terms.session:
            raise ProtocolError("the request belongs to another session")
        if sum_.round != self._to_open:
            raise ProtocolError(
                f"round {sum_.round} is not in progress; its sum was asked for before, or never begun"
            )
        if (
            not self._model_name
        ):  # the server's word for the name is not enough: a step adds to a model
            raise ProtocolError("this holder does not have the model that was asked for")
        if sum_.key_id != self._holder.key_id:
            raise ProtocolError("the sum is under another key")
        if len(sum_.survivors) < terms.min_cohort or not set(sum_.survivors) <= set(terms.clients):
            raise ProtocolError(f"a sum takes {terms.min_cohort} or more clients of this session")
        loader = self._holder.ciphertexts()
        ciphertexts = [loader.load(one) for one in sum_.ciphertexts]
        opened = self._holder.open(ciphertexts)
        share = self._share(sum_.survivors, opened)
        self._to_open, self._asked = -1, None
        row = torch.from_numpy(np.clip(opened[: terms.d] / share, -terms.clip, terms.clip)).to(
            torch.float32
        )
        weight = torch.tensor([share * terms.max_weight], dtype=torch.float64)
        name = next_name(self._model_name, sum_.round, request)
        return View(row.unsqueeze(0), weight, (sum_.survivors,), name)

    def _share(self, survivors: tuple[int, ...], opened: NDArray[np.float64]) -> float:
        """The survivors' weights over the largest: public, or opened and held to what so many clients can have."""
        terms = self._terms
        if terms.weights is not None:
            return sum(terms.weights[client] for client in survivors) / terms.max_weight
        return float(np.clip(opened[terms.d], len(survivors) / terms.max_weight, len(survivors)))
