"""The server's side of CKKS: it adds ciphertexts, and has nothing to open them with."""

from collections.abc import Sequence
from typing import Any

from securefl.channels.ckks.cipher import Ciphertexts
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.messages import UpdateRequest
from securefl.channels.protocol import UNWATCHED, Observation, Observer, Packet, Seen
from securefl.errors import ProtocolError, RoundAbandoned

_UPDATES, _OPENING, _OVER = 1, 2, 3  # stages


class CkksServer:
    """Two stages: updates are added up as they come; then the sum goes to the key holders.

    Args:
        terms: of the session.
        key_id: names the session's key.
        public_parameters: of the scheme, without any key.
    """

    def __init__(self, terms: CkksTerms, *, key_id: bytes, public_parameters: bytes) -> None:
        self._terms = terms
        self._key_id = key_id
        self._ciphertexts = Ciphertexts.without_key(public_parameters)
        self._round = -1
        self._cohort = frozenset[int]()
        self._model_hash = b""
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
        """Starts a round, and forgets the last one."""
        self._round = round
        self._cohort = frozenset(cohort)
        self._model_hash = model_hash
        self._stage = _UPDATES
        self._total = []
        self._added = set()
        self._sum = b""
        self._observer = observer

    def requests(self) -> dict[int, bytes]:
        """Returns one request for each invited client: send your update; then: open this sum."""
        if self._stage == _OVER:
            return {}
        request = self._sum
        if self._stage == _UPDATES:
            request = UpdateRequest(self._terms.session, self._round, self._model_hash).to_bytes()
        return dict.fromkeys(sorted(self._cohort), request)

    def absorb(self, client: int, message: Packet) -> bool:
        """Adds one update.

        Returns:
            False, and nothing has changed, if it is malformed, foreign, late or a second one.
        """
        if self._stage != _UPDATES or client not in self._cohort or client in self._added:
            return False
        try:
            update = EncryptedUpdate.from_bytes(message, chunks=self._terms.chunks)
            place = (self._terms.session, self._round, client, self._key_id)
            if (update.session, update.round, update.sender, update.key_id) != place:
                return False
            if self._total:
                self._ciphertexts.add(self._total, update.ciphertexts)
            else:
                self._total = [self._ciphertexts.load(part) for part in update.ciphertexts]
        except ProtocolError:
            return False
        self._added.add(client)
        self._tell(Seen.ENCRYPTED_UPDATE, (client,), len(message))
        return True

    def close_stage(self) -> None:
        """Ends the stage; the view opens at the key holders.

        Raises:
            RoundAbandoned: fewer than min_cohort updates came, or no key holder opened the sum.
        """
        if self._stage == _UPDATES:
            min_cohort = self._terms.min_cohort
            if len(self._added) < min_cohort:
                self._stage = _OVER
                raise RoundAbandoned(
                    f"{len(self._added)} updates came, the minimum cohort is {min_cohort}"
                )
            survivors = tuple(sorted(self._added))
            ciphertexts = self._ciphertexts.dump(self._total)
            self._sum = EncryptedSum(
                self._terms.session, self._round, self._key_id, survivors, ciphertexts
            ).to_bytes()
            self._total = []
            self._stage = _OPENING
            self._tell(Seen.ENCRYPTED_SUM, survivors, len(self._sum))
        elif self._stage == _OPENING:
            self._stage = _OVER
        else:
            raise RoundAbandoned("no key holder opened the sum")

    def _tell(self, kind: Seen, about: tuple[int, ...], size: int) -> None:
        """Tells the observer of ciphertexts, which neither the server nor the network can read."""
        for party in ("server", "network"):
            self._observer.observe(Observation(party, kind, about, (self._terms.chunks,), size))
