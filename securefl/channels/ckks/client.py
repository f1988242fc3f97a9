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
from securefl.channels.update import check_asked, check_shares, checked_weight
from securefl.errors import ProtocolError

_NO_ROUND = -1


class CkksClient:
    """Answers a request for an update, then one for the opening of the sum; each once a round.

    Guarantees:
        - Every message that leaves is encrypted, and no opened number ever leaves. Li and
          Micciancio, EUROCRYPT 2021: decrypted CKKS values next to their ciphertexts give the key.
        - A sum is opened once a round, and only if it claims to hold min_cohort updates or more of
          this session's clients. The client cannot check that claim: a server that sends one
          update as the sum shows it to the key holders, never to itself.
        - A message that is malformed, foreign, old or under another key changes nothing.
        - Nothing that the server sees of a client depends on a decrypted number; otherwise the
          server could read updates and the key off it. So sums that honest clients cannot have sent
          are clipped to the nearest possible sum, not refused. Models go by names that are computed
          from ciphertexts.
        - Opened numbers leave this class as float32. The float64 sum, with the noise of its
          ciphertext in the last digits, does not.

    Args:
        client: this client's id.
        terms: of the session.
        holder: the session's key.
    """

    def __init__(self, client: int, terms: CkksTerms, holder: KeyHolder) -> None:
        self._client = client
        self._terms = terms
        self._holder = holder
        self._request: UpdateRequest | None = None
        self._model_name = b""  # of the model at hand, once it is the requested one
        self._last_round = _NO_ROUND
        self._round_to_open = _NO_ROUND

    def receive(self, request: bytes) -> View | None:
        """Returns None: train, then submit; or a view: the sum, opened here.

        Raises:
            ProtocolError: malformed, another session or key, out of order, or too few updates in
                the sum.
        """
        if kind_of(request) == EncryptedSum.KIND:
            return self._open(request)
        message = UpdateRequest.from_bytes(request)
        if message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        if message.round <= self._last_round:
            raise ProtocolError(f"round {message.round} was asked for before")
        self._request = message
        self._model_name = b""
        self._last_round = message.round
        self._round_to_open = message.round
        return None

    def check_model(self, round: int, name: bytes) -> None:
        """Raises ProtocolError unless an update of this round and this model was asked for."""
        self._model_name = check_asked(self._request, name, round=round).model_hash

    def submit(self, update: ClientUpdate) -> bytes:
        """Returns the update under encryption, once a round.

        Raises:
            ProtocolError: nothing was asked for, another model was trained, or the update cannot be
                encrypted.
        """
        request = check_asked(self._request, update.model_hash)
        check_shares(update.spent, None)
        self._model_name = request.model_hash
        ciphertexts = self._holder.encrypt(self._numbers(update))
        self._request = None
        return EncryptedUpdate(
            request.session, request.round, self._client, self._holder.key_id, ciphertexts
        ).to_bytes()

    def _numbers(self, update: ClientUpdate) -> NDArray[np.float64]:
        """Returns the numbers to encrypt: weight / max_weight times the clipped delta.

        Where weights are not public, weight / max_weight itself follows. Infinities are clipped and
        NaNs count as 0: a refusal would tell the server something about the records.

        Raises:
            ProtocolError: the update does not fit the terms.
        """
        terms = self._terms
        weight = checked_weight(
            update, self._client, d=terms.d, weights=terms.weights, max_weight=terms.max_weight
        )
        numbers = np.full(terms.numbers, weight / terms.max_weight)
        delta = update.delta.detach().double().numpy()
        delta = np.clip(delta, -terms.clip, terms.clip)
        numbers[: terms.d] *= np.where(np.isnan(delta), 0.0, delta)
        return numbers

    def _open(self, request: bytes) -> View:
        """Returns one row: the weighted mean over the survivors."""
        message = EncryptedSum.from_bytes(
            request, chunks=self._terms.chunks, most=self._terms.cohort
        )
        self._check_sum(message)
        loader = self._holder.ciphertexts()
        ciphertexts = [loader.load(ciphertext) for ciphertext in message.ciphertexts]
        opened = self._holder.open(ciphertexts)
        # After this line nothing raises: every refusal above depends on public facts only.
        self._round_to_open = _NO_ROUND
        self._request = None
        name = next_name(self._model_name, message.round, request)
        return self._view(opened, message.survivors, name)

    def _check_sum(self, message: EncryptedSum) -> None:
        """Raises ProtocolError unless this sum may be opened now."""
        terms = self._terms
        if message.session != terms.session:
            raise ProtocolError("the request belongs to another session")
        if message.round != self._round_to_open:
            raise ProtocolError(
                f"round {message.round} is not in progress; "
                "its sum was asked for before, or never begun"
            )
        # The opened mean is added to a model. The server's word for its name is not enough.
        if not self._model_name:
            raise ProtocolError("this holder does not have the model that was asked for")
        if message.key_id != self._holder.key_id:
            raise ProtocolError("the sum is under another key")
        are_members = set(message.survivors) <= set(terms.clients)
        if len(message.survivors) < terms.min_cohort or not are_members:
            raise ProtocolError(f"a sum takes {terms.min_cohort} or more clients of this session")

    def _view(self, opened: NDArray[np.float64], survivors: tuple[int, ...], name: bytes) -> View:
        """Returns the weighted mean, held to the range that honest clients can reach."""
        terms = self._terms
        share = self._weight_share(survivors, opened)
        mean = np.clip(opened[: terms.d] / share, -terms.clip, terms.clip)
        row = torch.from_numpy(mean).to(torch.float32)
        weight = torch.tensor([share * terms.max_weight], dtype=torch.float64)
        return View(row.unsqueeze(0), weight, (survivors,), name)

    def _weight_share(self, survivors: tuple[int, ...], opened: NDArray[np.float64]) -> float:
        """Returns the survivors' total weight over the largest weight of one client.

        It is public, or opened and clipped to the range that this many clients can have.
        """
        terms = self._terms
        if terms.weights is not None:
            return sum(terms.weights[client] for client in survivors) / terms.max_weight
        least = len(survivors) / terms.max_weight
        return float(np.clip(opened[terms.d], least, len(survivors)))
