"""Sums of statistics over all sites, through the channel of the updates, before the first round.

sides = kind.sides(sums_plan(plan, parts), **integer_options)
pooled = play_fit(sides, parts, moments, start=Pooled.start(p, q), observer=log)

Statistics travel as whole numbers of a ring, so that each channel gives the same total, bit for
bit, and a masked one hides the summands perfectly.
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

# A statistic is a multiple of 2^-60, and a number of 128 bits.
FRACTION_BITS = 60
RING_BITS = 128
MAX_STATISTIC = 2.0**40
# An opened sum is a mean in float32, which gives whole numbers up to here back.
_SUM_BITS = 23
MAX_SITES = 2**14

_KINDS = {
    Seen.CLEAR_UPDATE: Seen.CLEAR_STATISTICS,
    Seen.MASKED_UPDATE: Seen.MASKED_STATISTICS,
    Seen.SUM_OF_UPDATES: Seen.SUM_OF_STATISTICS,
}


def word_bits(sites: int) -> int:
    """Returns the bits of a word, so that a sum of words over all sites is exact.

    Raises:
        ValueError: there are more than MAX_SITES sites.
    """
    if not 1 <= sites <= MAX_SITES:
        raise ValueError(f"statistics of 1 to {MAX_SITES} sites can be added, got {sites}")
    return _SUM_BITS - sites.bit_length()


def words_of(values: Array, *, sites: int) -> Tensor:
    """Returns values (length,) as float32 words (length * words each), lowest word first.

    Negative numbers are those of the ring: a word is never negative.

    Raises:
        DataError: a value is not finite, or MAX_STATISTIC or more in size.
    """
    if not (np.abs(values) < MAX_STATISTIC).all():  # False for NaN as well
        raise DataError(
            f"data.harmonise: a sum over the records of a site is not below {MAX_STATISTIC:.0e} "
            "in size; scale the features, or clean them of values that are no numbers"
        )
    bits = word_bits(sites)
    words = []
    for value in values.tolist():
        number = round(math.ldexp(value, FRACTION_BITS)) % (1 << RING_BITS)
        for _ in range(_words_each(bits)):
            words.append(number % (1 << bits))
            number >>= bits
    return torch.tensor(words, dtype=torch.float32)


def values_of(totals: NDArray[np.int64], *, sites: int) -> Array:
    """Returns the sums (length,) behind the totals of words, correctly rounded."""
    bits = word_bits(sites)
    values = []
    for words in totals.reshape(-1, _words_each(bits)).tolist():
        number = sum(word << (bits * place) for place, word in enumerate(words)) % (1 << RING_BITS)
        if number >= 1 << (RING_BITS - 1):
            number -= 1 << RING_BITS
        values.append(number / (1 << FRACTION_BITS))
    return np.array(values)


def _words_each(bits: int) -> int:
    return -(-RING_BITS // bits)


def sums_plan(plan: Plan, parts: Sequence[Part]) -> Plan:
    """Returns the constants of the session of a fit: all sites, one round a sum, and no weights.

    Args:
        plan: of the updates' session.
        parts: the sums.
    """
    longest = max(part.length for part in parts)
    return replace(
        plan,
        session=hashlib.sha256(b"securefl sums 1" + plan.session).digest()[:16],
        d=longest * _words_each(word_bits(len(plan.clients))),
        cohort=len(plan.clients),
        rounds=len(parts),
        weights=dict.fromkeys(plan.clients, 1),
        max_weight=1,
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
            summands[client] = words_of(padded, sites=len(moments))
        try:
            view = _play_sum(sides, summands, round, _name(part, pooled), _Watch(observer))
        except (ClientFailure, ProtocolError, RoundAbandoned) as reason:
            raise RunFailed(
                f"data.harmonise: the sum of {part.name} failed, and nothing is fitted without "
                f"all sites: {reason}"
            ) from None
        total: Tensor = view.weights @ view.rows.double()
        words = torch.round(total).numpy().astype(np.int64)
        for client in moments:
            observer.observe(
                Observation.of(f"client {client}", Seen.SUM_OF_STATISTICS, view.clients, total)
            )
        pooled = part.learn(values_of(words, sites=len(moments))[: part.length], pooled)
    return pooled


def _play_sum(
    sides: Sides, summands: Mapping[int, Tensor], round: int, name: bytes, observer: Observer
) -> View:
    """Carries one round of the channel, in which every site sends its words.

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
