"""Sums of statistics over all sites, through the channel of the updates, before the first round.

sides = kind.sides(sums_plan(plan, parts), **long_integer_options)
pooled = play_fit(sides, parts, moments, start=Pooled.start(p, q), observer=log)

Statistics travel as integers of a ring, in digits, so that each channel gives the same total, bit
for bit. A masked one adds the integers with their carries: its server sees the total alone.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.channels.apart import DIGIT_BITS, DIGITS
from securefl.channels.protocol import (
    UNWATCHED,
    ClientUpdate,
    Observation,
    Observer,
    Plan,
    Seen,
    Sides,
    View,
)
from securefl.data.harmonise.moments import Array, Moments
from securefl.data.harmonise.sums import Part, Pooled
from securefl.errors import ClientFailure, DataError, ProtocolError, RoundAbandoned, RunFailed

# A statistic is a multiple of 2^-60, and an integer of 128 bits.
FRACTION_BITS = 60
MAX_STATISTIC = 2.0**40
# A masked total is a mean in float32 over all blocks of 128 sites: the digits of so many come back.
MAX_SITES = 2**14
_RING = 1 << (DIGITS * DIGIT_BITS)
_BASE = 1 << DIGIT_BITS

_KINDS = {
    Seen.CLEAR_UPDATE: Seen.CLEAR_STATISTICS,
    Seen.MASKED_UPDATE: Seen.MASKED_STATISTICS,
    Seen.SUM_OF_UPDATES: Seen.SUM_OF_STATISTICS,
}


def digits_of(values: Array) -> Tensor:
    """Returns values (length,) as float32 digits (8 length,), lowest first.

    Negative numbers are those of the ring: a digit is never negative.

    Raises:
        DataError: a value is not finite, or MAX_STATISTIC or more in size.
    """
    if not (np.abs(values) < MAX_STATISTIC).all():  # False for NaN as well
        raise DataError(
            f"data.harmonise: a sum over the records of a site is not below {MAX_STATISTIC:.0e} "
            "in size; rescale the columns, or clean them of values that are no numbers"
        )
    digits: list[int] = []
    for value in values.tolist():
        number = round(math.ldexp(value, FRACTION_BITS)) % _RING
        digits.extend((number >> (DIGIT_BITS * place)) % _BASE for place in range(DIGITS))
    return torch.tensor(digits, dtype=torch.float32)


def values_of(totals: NDArray[np.int64]) -> Array:
    """Returns the sums (length,) behind totals of digits (8 length,), correctly rounded."""
    values = []
    for digits in totals.reshape(-1, DIGITS).tolist():
        number = sum(digit << (DIGIT_BITS * place) for place, digit in enumerate(digits)) % _RING
        if number >= _RING // 2:
            number -= _RING
        values.append(number / (1 << FRACTION_BITS))
    return np.array(values)


def sums_plan(plan: Plan, parts: Sequence[Part]) -> Plan:
    """Returns the constants of the session of a fit: all sites, one round a sum, and no weights.

    Args:
        plan: of the updates' session.
        parts: the sums.

    Raises:
        ValueError: there are more than MAX_SITES sites.
    """
    if len(plan.clients) > MAX_SITES:
        raise ValueError(f"statistics of 1 to {MAX_SITES} sites can be added, not of more")
    longest = max(part.length for part in parts)
    return replace(
        plan,
        session=hashlib.sha256(b"securefl sums 1" + plan.session).digest()[:16],
        d=longest * DIGITS,
        cohort=len(plan.clients),
        rounds=len(parts),
        weights=dict.fromkeys(plan.clients, 1),
        max_weight=1,
        noise=None,
        selection=None,
    )


def play_fit(
    sides: Sides,
    parts: Sequence[Part],
    moments: Mapping[int, Moments],
    *,
    start: Pooled,
    observer: Observer = UNWATCHED,
) -> Pooled:
    """Returns what all sites know after the last sum.

    Args:
        sides: a channel by `sums_plan`, ready for its first round.
        parts: the sums, one after another.
        moments: client -> the moments of its records, noised where DP is claimed.
        start: what is known before the first sum.
        observer: gets what parties see.

    Raises:
        DataError: nothing can be fitted to these records.
        RunFailed: a site is missing in a sum. Nothing is fitted without it.
    """
    pooled = start
    longest = max(part.length for part in parts)
    for round, part in enumerate(parts):
        summands = {}
        for client, own in moments.items():
            padded = np.zeros(longest)
            padded[: part.length] = part.of(own, pooled)
            summands[client] = digits_of(padded)
        try:
            view = _play_sum(sides, summands, round, _name(part, pooled), _Watch(observer))
        except (ClientFailure, ProtocolError, RoundAbandoned) as reason:
            raise RunFailed(
                f"data.harmonise: the sum of {part.name} failed, and nothing is fitted without "
                f"all sites: {reason}"
            ) from None
        total: Tensor = view.weights @ view.rows.double()
        digits = torch.round(total).numpy().astype(np.int64)
        for client in moments:
            observer.observe(
                Observation.of(f"client {client}", Seen.SUM_OF_STATISTICS, view.clients, total)
            )
        pooled = part.learn(values_of(digits)[: part.length], pooled)
    return pooled


def _play_sum(
    sides: Sides, summands: Mapping[int, Tensor], round: int, name: bytes, observer: Observer
) -> View:
    """Carries one round of the channel, in which every site sends its digits.

    Raises:
        ClientFailure: a site answers no more.
        ProtocolError: a site refuses a request.
        RoundAbandoned: a message was dropped, or too few sites are left.
    """
    server = sides.server
    server.begin(round, tuple(summands), name, observer)
    view = None
    while view is None:
        for client, request in server.requests().items():
            side = sides.clients[client]
            reply = side.receive(request)
            if isinstance(reply, View):
                raise ProtocolError("a sum was opened at a site, and not at the server")
            update = ClientUpdate(summands[client], 1, None, name)
            if not server.absorb(client, side.submit(update) if reply is None else reply):
                raise RoundAbandoned(f"the message of client {client} was dropped")
        view = server.close_stage()
    _check_complete(view, summands)
    return view


def _check_complete(view: View, clients: Iterable[int]) -> None:
    missing = sorted(set(clients) - set(view.clients))
    if missing:
        raise RoundAbandoned(f"client {missing[0]} is not in it")


def _name(part: Part, pooled: Pooled) -> bytes:
    """Returns 32 bytes that name a sum and what is known before it, in the place of a model."""
    known = json.dumps([part.name, pooled.to_json()], sort_keys=True)
    return hashlib.sha256(b"securefl sum 1" + known.encode()).digest()


class _Watch:
    """Passes on what a channel shows, in words for statistics."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def observe(self, observation: Observation) -> None:
        kind = _KINDS.get(observation.kind, observation.kind)
        self._observer.observe(replace(observation, kind=kind))
