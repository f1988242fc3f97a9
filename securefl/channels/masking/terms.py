"""The terms of a masked session, from public constants."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from securefl.channels.masking.agreement import (
    MAX_BLOCK,
    Agreement,
    Sketching,
    blocks_for,
    threshold_for,
)
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.long_integers import LongIntegers
from securefl.channels.masking.lots import smallest_and_largest
from securefl.channels.masking.noise import SumNoise, Sums, sized
from securefl.channels.masking.sketches.matrix import LARGEST_SKETCH, SMALLEST_SKETCH
from securefl.channels.masking.sketches.replies import MAX_CHOICE
from securefl.channels.masking.sketches.words import ROOM
from securefl.channels.protocol import SET_UP, Plan
from securefl.errors import at_least
from securefl.privacy.noise.shares import NoiseShares

_NOBODY = 2**31  # no client has this id

# Weighted squared distances of the longest sketches stay far below half of the field.
MAX_SKETCH_WEIGHT = 2**20


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

    They are the same wherever the secrets of the set-up come from, but for the matrices of
    sketches, which seeded secrets make known to everybody. With `long`, which no scenario
    can name, coordinates are digits, and ring, clip and rounding are not read.

    Raises:
        ValueError: the terms do not fit.
    """
    sketching = None
    if sketch is not None:
        sketching = _sketching(plan, sketch, ring=ring, corrupt=corrupt, groups=groups, long=long)
        if secrets == "seeded":
            drawn = plan.stream_for(SET_UP, _NOBODY, 0).bytes(32)
            sketching = replace(sketching, known_seed=drawn)
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
        room = most if sketching is None else ROOM * most
        code = FixedPoint(ring, clip, rounding, most=room, folded=plan.noise_at_opening)
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
        sketching=sketching,
    )


def _sketching(
    plan: Plan, size: int, *, ring: int, corrupt: int, groups: int | None, long: bool
) -> Sketching:
    """Returns how clients are chosen. Raises ValueError: sums of these terms cannot choose any."""
    selection = plan.selection
    if selection is None or selection.liars < 1:
        raise ValueError("sketches serve a rule that withstands at least one liar, and none is set")
    if groups is not None or long or plan.noise is not None or plan.noise_at_opening:
        raise ValueError("sketches go with neither groups, digits nor noise that adds up in a sum")
    if ring != 32:
        raise ValueError(f"sketches are taken in a ring of 32 bits, got ring={ring}")
    if not SMALLEST_SKETCH <= size <= LARGEST_SKETCH:
        raise ValueError(
            f"a sketch has {SMALLEST_SKETCH} to {LARGEST_SKETCH} coordinates, got sketch={size}"
        )
    if plan.weights is None or plan.max_weight > MAX_SKETCH_WEIGHT:
        raise ValueError(
            f"sketches need public weights of at most {MAX_SKETCH_WEIGHT}: "
            'use weights = "equal" or "declared"'
        )
    least = 2 * corrupt + 2 * selection.liars + 1
    if not least <= plan.cohort <= MAX_CHOICE:
        raise ValueError(
            f"sketches with corrupt={corrupt} and f={selection.liars} take {least} to {MAX_CHOICE} "
            f"clients in one sum, {plan.cohort} are invited"
        )
    return Sketching(size, selection.liars)


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
