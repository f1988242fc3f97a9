"""The agreement of a session: who its members are, and the terms of every sum.

Members agree on it before the session, outside this protocol.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import MAX_TAGGED_BYTES
from securefl.channels.masking.long_integers import LongIntegers
from securefl.channels.masking.lots import MAX_BLOCK as MAX_BLOCK
from securefl.channels.masking.lots import blocks_for as blocks_for
from securefl.channels.masking.lots import check_groups, dealt
from securefl.channels.masking.lots import threshold_for as threshold_for
from securefl.channels.masking.noise import SumNoise, padded
from securefl.channels.masking.replies import MaskedInput
from securefl.channels.masking.shared import Kept
from securefl.channels.messages import MAX_ROUND, MAX_WEIGHT
from securefl.errors import ProtocolError

MIN_HONEST = 2  # honest clients in a sum, or it would hide nobody


@dataclass(frozen=True)
class Sketching:
    """How clients of a sum are chosen by sketches of their updates.

    Args:
        size: coordinates of a sketch, k.
        liars: clients that may lie about their updates, f.
        known_seed: makes the matrices of all rounds, so that a simulation can be repeated. Whoever
            knows it can lie about its update. Empty where nobody may know a matrix beforehand.
    """

    size: int
    liars: int
    known_seed: bytes = b""

    def fewest_answers(self, corrupt: int) -> int:
        """Returns 2 c + 2 f + 1: shares of degree 2 c, f of them wrong, tell the distances."""
        return 2 * corrupt + 2 * self.liars + 1


@dataclass(frozen=True)
class Agreement:
    """The constants of a session, the same for every member.

    A member takes them from its own configuration and never from a message: a server that could
    change them could open single updates.

    Args:
        session: 16 bytes that name the session.
        roster: client -> its Ed25519 public key, 32 bytes.
        server: the server's Ed25519 public key.
        d: coordinates of an update.
        code: how coordinates become words of the ring; `code.most` covers a whole block.
        corrupt: clients of one sum that may work together with the server, at least 1.
        cohort: clients that a round invites; fewer only where the set-up left fewer.
        rounds: number of rounds, numbered from 0; a client answers no other round.
        min_cohort: fewest updates in one sum, at least corrupt + 2.
        max_weight: the largest weight that a client may carry.
        weights: public weight of each client; None where clients report theirs, which the server
            sees.
        config: digest of everything else that is agreed on: data, model, training, privacy.
        beacon: the number that the members drew together in the set-up; it deals large cohorts into
            blocks, once a session.
        noise: what every client adds to its update in whole steps; None where they add nothing.
        sketching: how the clients of the sum are chosen; None where all survivors are in it.
        groups: sums of a round, each of which is a row of the rule; None where all sums together
            make one row, and there are as few of them as their size allows.
        regroup: whether each round deals new groups; the same ones meet in all rounds otherwise.

    Raises:
        ValueError: an argument is out of its range, or an upload would be too long for its tag.
    """

    session: bytes
    roster: Mapping[int, bytes]
    server: bytes
    d: int
    code: FixedPoint | LongIntegers
    corrupt: int
    cohort: int
    rounds: int
    min_cohort: int
    max_weight: int
    weights: Mapping[int, int] | None
    config: bytes = b""
    beacon: bytes = b""
    noise: SumNoise | None = None
    sketching: Sketching | None = None
    groups: int | None = None
    regroup: bool = False

    def __post_init__(self) -> None:
        self._check_cohorts()
        if not 1 <= self.rounds <= MAX_ROUND + 1:
            raise ValueError(f"rounds must be 1 to {MAX_ROUND + 1}, got {self.rounds}")
        # Under a shared key one party could answer as another.
        if len({self.server, *self.roster.values()}) <= len(self.roster):
            raise ValueError("every member and the server must have a key of its own")
        if not 1 <= self.max_weight <= MAX_WEIGHT:
            raise ValueError(
                f"max_weight must be at least 1 and at most {MAX_WEIGHT}, got {self.max_weight}"
            )
        self._check_upload_size()
        # Copies that cannot change: the digest is computed once.
        if self.weights is not None:
            self._check_weights(self.weights)
            object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))
        object.__setattr__(self, "roster", MappingProxyType(dict(sorted(self.roster.items()))))

    def _check_cohorts(self) -> None:
        """Raises ValueError if a sum could have too few honest clients to hide any of them."""
        if self.corrupt < 1:
            raise ValueError(f"corrupt must be at least 1, got {self.corrupt}")
        least = self.corrupt + MIN_HONEST
        if self.min_cohort < least:
            raise ValueError(
                f"min_cohort must be at least corrupt + {MIN_HONEST} = {least}, "
                f"or a sum could hide nobody, got {self.min_cohort}"
            )
        if self.cohort < self.min_cohort:
            raise ValueError(
                f"a masked round takes at least {self.min_cohort} clients, "
                f"{self.cohort} are invited"
            )
        check_groups(self.groups, self.cohort, fewest=self.min_cohort, regroup=self.regroup)
        if self.groups is not None and self.sketching is not None:
            raise ValueError("groups and sketches exclude each other: a round has one of them")

    def _check_upload_size(self) -> None:
        if self.d % self.code.coordinates:
            raise ValueError(
                f"{self.d} coordinates are no whole words of {self.code.coordinates} digits each"
            )
        size = MaskedInput.length(self.words, self.code.word)
        if size > MAX_TAGGED_BYTES:
            raise ValueError(
                f"a masked upload takes at most {MAX_TAGGED_BYTES} bytes, "
                f"{self.d} coordinates in a ring of 2^{self.code.ring} take {size}: "
                "use a smaller model or a smaller ring"
            )

    def _check_weights(self, weights: Mapping[int, int]) -> None:
        """Raises ValueError unless every member has a public weight in range."""
        if not all(1 <= weight <= self.max_weight for weight in weights.values()):
            raise ValueError(f"every public weight must be 1 to {self.max_weight}")
        missing = set(self.roster) - set(weights)
        if missing:
            raise ValueError(f"client {min(missing)} has no public weight")

    @property
    def words(self) -> int:
        """The length of an upload, in words of the ring."""
        return padded(self.d) if self.rotates else self.d // self.code.coordinates

    @property
    def rotates(self) -> bool:
        """Whether updates are rotated before they are rounded."""
        return self.noise is not None and self.noise.largest is not None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all terms except the session; every signature is bound to it.

        Each message names the session itself.
        """
        weights: dict[str, int] | None = None
        if self.weights is not None:
            weights = {str(client): weight for client, weight in sorted(self.weights.items())}
        terms: dict[str, Any] = {
            "protocol": "securefl masking 2",
            "roster": {str(client): key.hex() for client, key in self.roster.items()},
            "server": self.server.hex(),
            "d": self.d,
            "code": self.code.to_json(),
            "corrupt": self.corrupt,
            "cohort": self.cohort,
            "rounds": self.rounds,
            "min_cohort": self.min_cohort,
            "max_weight": self.max_weight,
            "weights": weights,
            "config": self.config.hex(),
            "beacon": self.beacon.hex(),
        }
        if self.noise is not None:
            terms["noise"] = self.noise.to_json()
        if self.sketching is not None:
            known = self.sketching.known_seed.hex()
            terms["sketching"] = [self.sketching.size, self.sketching.liars, known]
        if self.groups is not None:
            terms["groups"] = [self.groups, self.regroup]
        return hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).digest()

    # In a simulation all members share these terms, and ask about the same cohort.

    @cached_property
    def _placed(self) -> Kept[Mapping[int, tuple[int, ...]]]:
        return Kept()

    @cached_property
    def _listed(self) -> Kept[bool]:
        return Kept()

    def threshold(self, invited: int) -> int:
        """Returns the least t with 2 t > invited + corrupt.

        Any two groups of t then share an honest client, and it signs one statement only.
        """
        return threshold_for(invited, corrupt=self.corrupt)

    @property
    def least_sum(self) -> int:
        """The fewest updates of any sum: the minimum cohort, or as many as the noise takes.

        With up to `corrupt` clients that add none, the shares that are counted are in the sum.
        """
        if self.noise is None:
            return self.min_cohort
        return max(self.min_cohort, self.noise.honest + self.corrupt)

    def fewest(self, invited: int) -> int:
        """Returns how many of the invited a sum needs: the threshold, or the least sum."""
        return max(self.threshold(invited), self.least_sum)

    @property
    def least_invited(self) -> int:
        """The fewest clients that an invitation may name."""
        return min(self.cohort, len(self.roster))

    def least_members(self) -> int:
        """Returns how many members must be left after the set-up.

        A cohort suffices. Otherwise it takes so many that no two sessions divide the roster, and
        that no block is below the minimum, and that the liars among them can spoil no distances.
        """
        undivided = self.fewest(len(self.roster))
        full_blocks = self.sums * self.least_sum
        compared = 0 if self.sketching is None else self.sketching.fewest_answers(self.corrupt)
        return min(self.cohort, max(undivided, full_blocks, compared))

    @property
    def sums(self) -> int:
        """The sums of a round with a whole cohort."""
        return blocks_for(self.cohort, self.groups)

    def blocks(
        self, cohort: tuple[int, ...], *, round: int | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Returns the cohort in blocks of even sizes: the groups, or blocks of at most 128 clients.

        The beacon puts the roster in one order for the whole session, and the invited clients are
        dealt out in that order. A deal for each round, which `regroup` asks for, leaves the server,
        which picks round numbers, that many deals to choose from.

        Raises:
            ProtocolError: there would be several blocks, and no beacon was drawn.
        """
        if not cohort:
            return ()
        # Members lost in the set-up do not lower the number of blocks, or the server could gather
        # the corrupt ones in one block.
        count = blocks_for(max(len(cohort), self.cohort), self.groups)
        if count > 1 and not self.beacon:
            raise ProtocolError("a cohort of several blocks needs a set-up")
        return dealt(cohort, count, beacon=self.beacon, round=self._dealt_in(round))

    def block_of(
        self, client: int, cohort: tuple[int, ...], *, round: int | None = None
    ) -> tuple[int, ...]:
        """Returns the clients that `client` is summed with, itself included; () if not invited.

        Raises:
            ProtocolError: see `blocks`.
        """

        def placed() -> dict[int, tuple[int, ...]]:
            blocks = self.blocks(cohort, round=round)
            return {client: block for block in blocks for client in block}

        return self._placed.get((cohort, self._dealt_in(round)), placed).get(client, ())

    def _dealt_in(self, round: int | None) -> int | None:
        """Returns the round that blocks depend on; None where they are dealt once."""
        if not self.regroup:
            return None
        if round is None:
            raise ValueError("groups that are dealt in each round need its number")
        return round

    def lists(self, cohort: tuple[int, ...]) -> bool:
        """Whether the roster lists every client of a cohort."""
        return self._listed.get(cohort, lambda: self.roster.keys() >= set(cohort))
