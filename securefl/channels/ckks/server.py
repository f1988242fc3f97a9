"""The server's side of CKKS: it adds ciphertexts, and has nothing to open them with."""

from collections.abc import Sequence
from typing import Any

from securefl.channels.ckks.cipher import Ciphertexts
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.messages import UpdateRequest
from securefl.channels.protocol import UNWATCHED, Observation, Observer, Packet, Seen
from securefl.errors import ProtocolError, RoundAbandoned

_UPDATES, _OPENING, _OVER = 1, 2, 3


class CkksServer:
    """Two stages: updates come and are added up as they come; the sum goes to the key holders.

    Args:
        terms: of the session.
        key_id: names the session's key.
        public_parameters: of the scheme, without any key.
    """

    def __init__(self, terms: CkksTerms, *, key_id: bytes, public_parameters: bytes) -> None:
        self._terms, self._key_id = terms, key_id
        self._ciphertexts = Ciphertexts.without_key(public_parameters)
        self._round, self._cohort, self._model_hash = -1, frozenset[int](), b""
        self._stage = _OVER
        self._total: list[Any] = []
        self._added: set[int] = set()
        self._sum = b""
        self._observer = UNWATCHED

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """Start a round; what was left of the last one is forgotten."""
        self._round, self._cohort, self._model_hash = round, frozenset(cohort), model_hash
        self._stage, self._total, self._added, self._sum = _UPDATES, [], set(), b""
        self._observer = observer

    def requests(self) -> dict[int, bytes]:
        """To everyone invited: send your update; then: open this sum."""
        if self._stage == _OVER:
            return {}
        asked = UpdateRequest(self._terms.session, self._round, self._model_hash).to_bytes()
        return dict.fromkeys(sorted(self._cohort), asked if self._stage == _UPDATES else self._sum)

    def absorb(self, client: int, message: Packet) -> bool:
        """Add one update; False (and nothing changed) if it is malformed, foreign, late or a second one."""
        if self._stage != _UPDATES or client not in self._cohort or client in self._added:
            return False
        try:
            update = EncryptedUpdate.from_bytes(message, chunks=self._terms.chunks)
            if (update.session, update.round, update.sender, update.key_id) != (
                self._terms.session,
                self._round,
                client,
                self._key_id,
            ):
                return False
            if self._total:
                self._ciphertexts.add(self._total, update.ciphertexts)
            else:
                self._total = [self._ciphertexts.load(one) for one in update.ciphertexts]
        except ProtocolError:
            return False
        self._added.add(client)
        self._tell(Seen.ENCRYPTED_UPDATE, (client,), len(message))
        return True

    def close_stage(self) -> None:
        """End the stage; the view opens at the key holders.

        Raises:
            RoundAbandoned: fewer than min_cohort updates came, or no key holder opened the sum.
        """
        if self._stage == _UPDATES:
            if len(self._added) < self._terms.min_cohort:
                self._stage = _OVER
                raise RoundAbandoned(
                    f"{len(self._added)} updates came, the minimum cohort is {self._terms.min_cohort}"
                )
            survivors = tuple(sorted(self._added))
            sum_ = EncryptedSum(
                self._terms.session,
                self._round,
                self._key_id,
                survivors,
                self._ciphertexts.dump(self._total),
            )
            self._sum, self._total, self._stage = sum_.to_bytes(), [], _OPENING
            self._tell(Seen.ENCRYPTED_SUM, survivors, len(self._sum))
        elif self._stage == _OPENING:
            self._stage = _OVER
        else:
            raise RoundAbandoned("no key holder opened the sum")

    def _tell(self, kind: Seen, about: tuple[int, ...], size: int) -> None:
        """Tells the observer of ciphertexts, which neither the server nor the network can read."""
        for party in ("server", "network"):
            self._observer.observe(Observation(party, kind, about, (self._terms.chunks,), size))
