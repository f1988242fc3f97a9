"""The sums that a channel opens, and noise that protects a whole one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from securefl.channels.kind import Kind
from securefl.channels.protocol import Plan, Selection
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent, SampledGaussian
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import StreamFor, system_keystream
from securefl.scenario.constants import Constants
from securefl.scenario.protected import InSum, in_sum
from securefl.scenario.release import common_noise


class Sums(Constants, ABC):
    """What follows about the sum of a round.

    Attributes:
        channel: the kind of the channel.
        channel_options: the options in force that only some channels take.
        invited: clients invited to a round.
        min_cohort: fewest updates that make a round.
    """

    channel: Kind
    channel_options: Mapping[str, Any]
    invited: int
    min_cohort: int

    @property
    @abstractmethod
    def trainings(self) -> int:
        """How often one client trains at most in the whole run."""

    @property
    @abstractmethod
    def coordinates(self) -> int:
        """Number of coordinates of an update."""

    @property
    @abstractmethod
    def selection(self) -> Selection | None:
        """By which rule the channel chooses the clients of its sum; None where it chooses none."""

    # Noise of a whole sum, which is the same for all clients.

    @property
    def has_common_noise(self) -> bool:
        """Whether noise protects whole sums: in shares of all clients, or added to opened ones."""
        privacy = self._declared.privacy
        return privacy is not None and privacy.place != "local"

    @property
    def has_central_noise(self) -> bool:
        """Whether noise is added to opened sums."""
        privacy = self._declared.privacy
        return privacy is not None and privacy.place == "central"

    @cached_property
    def common_noise(self) -> float:
        """The noise multiplier of sums, where no earlier run has spent anything; 0 without."""
        return common_noise(self._declared, self.release, self.trainings)

    @property
    def n_min(self) -> int | None:
        """Fewest shares of honest clients in an opened sum; None where noise is in no shares."""
        if self.shares(self.common_noise) is None:
            return None
        event = self.release(self.common_noise)
        return event.shares if isinstance(event, DiscreteGaussianSum) else None

    @cached_property
    def in_sum(self) -> InSum:
        """The part of one protected unit in the sum of a round."""
        return in_sum(self._declared, self)

    @property
    def longest_update(self) -> float:
        """The largest L2 norm of an update, before it is weighted."""
        share = max((self.public_weights or {}).values(), default=1) / self.max_weight
        return self.in_sum.length / share

    def shares(self, noise_multiplier: float) -> NoiseShares | None:
        """Returns what the clients add in shares to each sum; None where they add none."""
        privacy = self._declared.privacy
        if privacy is None or privacy.place != "distributed" or not noise_multiplier:
            return None
        sensitivity, length, sample_rate = self.in_sum
        return NoiseShares(sensitivity, length, noise_multiplier, sample_rate)

    def release(self, noise_multiplier: float) -> PrivacyEvent:
        """Returns what the sum of a round costs under noise of a whole sum.

        Raises:
            ValueError: the channel has no room for so much noise, or carries no shares of it.
        """
        shares = self.shares(noise_multiplier)
        if shares is None:
            return SampledGaussian(self.in_sum.sample_rate, noise_multiplier, 1)
        if self.channel.release is None:
            # A continuous Gaussian would be cheaper than any sum of shares.
            raise ValueError(
                f"{self._declared.channel.kind} adds up no shares of noise, which "
                "privacy.place = 'distributed' needs"
            )
        return self.channel.release(self.terms_with(shares))

    def plan(
        self,
        *,
        session: bytes,
        d: int,
        stream_for: StreamFor,
        config: bytes = b"",
        noise: NoiseShares | None = None,
    ) -> Plan:
        """Returns the public constants that both sides of the channel are built from."""
        return Plan(
            session=session,
            d=d,
            clients=tuple(self.members),
            cohort=self.invited,
            rounds=self.trainings,
            min_cohort=self.min_cohort,
            weights=self.public_weights,
            max_weight=self.max_weight,
            stream_for=stream_for,
            config=config,
            missing=self.missing,
            noise=noise,
            noise_at_opening=self.has_central_noise,
            selection=self.selection,
        )

    @property
    def missing(self) -> frozenset[int]:
        """The clients that miss the set-up in a simulation."""
        return frozenset(self._declared.simulate.missing) & frozenset(self.members)

    @cached_property
    def terms(self) -> Any:
        """The terms that the clients agree on, except for their identities.

        Raises:
            ValueError: the terms do not fit.
        """
        return self.terms_with(self.shares(self.common_noise))

    def terms_with(self, noise: NoiseShares | None) -> Any:
        """Returns the terms under some noise of a whole sum. Raises ValueError: they do not fit."""
        sketch = self.plan(
            session=b"",
            d=self.coordinates,
            stream_for=lambda purpose, client, round: system_keystream(),
            noise=noise,
        )
        return self.channel.terms(sketch, **self.channel_options)
