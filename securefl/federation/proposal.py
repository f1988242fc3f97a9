"""What a charter asks of a site, in the terms of the site's policy."""

from dataclasses import dataclass
from typing import Literal

from securefl.privacy.terms import LOCAL, Place

Leave = Literal["never", "sums", "noisy"]


@dataclass(frozen=True)
class Proposal:
    """What a charter asks of a site, in the terms of its policy.

    Args:
        epsilon: the claim of the federation; inf where it claims nothing.
        delta: of the claim.
        total_epsilon: cost of the whole federation and of all earlier ones on the data set, at the
            policy's delta.
        channel: its kind.
        min_cohort: fewest updates in one sum.
        corrupt: sites of a sum that may be corrupt; None on a channel without masks.
        code: names the code.
        layout: names the layout of the model.
        rounds: trainings that the charter allows.
        days: that the charter is valid.
        evaluation: what leaves about test and validation records.
        test_epsilon: cost of this federation's noisy figures and of all earlier ones.
        test_delta: of the noisy figures.
        reveals_counts: whether the coordinator sees each site's number of records.
        place: where the noise of the claim is added, and against how many corrupt sites.
        n_min: fewest shares of honest sites in an opened sum; None where noise is in no shares.
        earlier: the places of earlier federations on the data set, whose cost total_epsilon has.
    """

    epsilon: float
    delta: float
    total_epsilon: float
    channel: str
    min_cohort: int
    corrupt: int | None
    code: str
    layout: str
    rounds: int
    days: float
    evaluation: Leave = "never"
    test_epsilon: float = 0.0
    test_delta: float = 0.0
    reveals_counts: bool = False
    place: Place = LOCAL
    n_min: int | None = None
    earlier: tuple[Place, ...] = ()

    @property
    def helpers(self) -> int | None:
        """How many sites may help the coordinator until total_epsilon is too low for them.

        None where it holds against all sites together.
        """
        of_shares = [place.corrupt for place in (self.place, *self.earlier) if place != LOCAL]
        return min(of_shares, default=None)
