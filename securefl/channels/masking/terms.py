"""The terms of a masked session, from public constants."""

from collections.abc import Mapping
from typing import Literal

from securefl.channels.masking.agreement import MAX_BLOCK, Agreement, blocks_for, threshold_for
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.long_integers import LongIntegers
from securefl.channels.masking.lots import smallest_and_largest
from securefl.channels.masking.noise import SumNoise, Sums, sized
from securefl.channels.protocol import Plan
from securefl.errors import at_least
from securefl.privacy.noise.shares import NoiseShares


def masked_terms(
    plan: Plan,
    *,
    ring: int,
    clip: float,
    rounding: Literal["nearest", "stochastic"],
    corrupt: int,
    secrets: Literal["system", "seeded"] = "system",
    groups: int | None = None,
    regroup: Literal["never", "each_round"] | None = None,
    sketch: int | None = None,
    long: bool = False,
    roster: Mapping[int, bytes] | None = None,
    server: bytes = b"",
) -> Agreement:
    """Returns the terms of a session before its set-up.

    They are the same wherever the secrets of the set-up come from. With `long`, which no scenario
    can name, coordinates are digits, and ring, clip and rounding are not read.

    Raises:
        ValueError: the terms do not fit.
    """
    number = blocks_for(plan.cohort, groups)
    smallest, largest = smallest_and_largest(plan.cohort, number)
    if smallest < plan.min_cohort:
        raise ValueError(f"min_cohort {plan.min_cohort} exceeds the {smallest} clients of one sum")
    # Without groups there is room for a full block, whatever the number of blocks.
    most = min(plan.cohort, MAX_BLOCK) if groups is None else largest
    code: FixedPoint | LongIntegers
    noise: SumNoise | None = None
    if plan.noise is not None:
        _check_noise(plan, plan.noise, clip=clip, long=long)
        fewest = max(threshold_for(smallest, corrupt=corrupt), plan.min_cohort)
        # Shares are counted as in the smallest block of a full cohort. No member opens a smaller
        # sum, whatever the set-up left, see `Agreement.fewest`.
        honest = max(1, fewest - corrupt)
        sums = Sums(d=plan.d, clients=most, honest=honest, number=plan.rounds * number)
        noise, code = sized(plan.noise, sums, ring=ring, rounding=rounding)
    elif long:
        code = LongIntegers(most)
    else:
        code = FixedPoint(ring, clip, rounding, most=most, folded=plan.noise_at_opening)
    return Agreement(
        session=plan.session,
        roster=roster or {},
        server=server,
        d=plan.d,
        code=code,
        corrupt=corrupt,
        cohort=plan.cohort,
        rounds=plan.rounds,
        min_cohort=plan.min_cohort,
        max_weight=plan.max_weight,
        weights=plan.weights,
        config=plan.config,
        noise=noise,
        groups=groups,
        regroup=regroup == "each_round",
    )


def _check_noise(plan: Plan, shares: NoiseShares, *, clip: float, long: bool) -> None:
    """Raises ValueError where shares would not be what their event says, or updates cut."""
    if long:
        raise ValueError("sums of digits carry no shares of noise")
    if plan.weights is None:
        raise ValueError(
            "shares of noise need public weights, since a reported one tells of records: "
            'use weights = "declared" or "equal"'
        )
    if clip < shares.length:
        raise ValueError(
            f"channel.clip = {clip:g} would cut coordinates of updates whose L2 norm is up to "
            f"{at_least(shares.length)}: use channel.clip = {at_least(shares.length)} or more"
        )
