"""A client's masked upload: its update in fixed point, under all of its masks.

Encoding and masking go chunk by chunk, so that each part of a large update is in the processor's
cache once.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.replies import MaskedInput
from securefl.channels.masking.round_state import RoundState
from securefl.channels.masking.stream import CHUNK_BYTES, Masks
from securefl.channels.protocol import ClientUpdate
from securefl.rng import Keystream


def masked_input(
    update: ClientUpdate,
    weight: int,
    state: RoundState,
    terms: Agreement,
    *,
    masks: Masks,
    stream: Keystream,
) -> MaskedInput:
    """Returns an upload that still lacks its tag.

    Args:
        update: delta (d,).
        weight: of this client, 1 to the largest weight.
        state: of the round, ready to submit.
        terms: of the session.
        masks: this client's self mask and its pair masks.
        stream: decides stochastic rounding.
    """
    upload = MaskedInput.blank(
        terms.session, state.round, state.own.sender, weight, m=terms.words, word=terms.code.word
    )
    parts = _encoded(update, weight, terms, stream=stream, out=upload.words)
    for chunk, part in enumerate(parts):
        masks.add_to(part, chunk=chunk)
    return upload


def _encoded(
    update: ClientUpdate, weight: int, terms: Agreement, *, stream: Keystream, out: NDArray[Any]
) -> Iterator[NDArray[Any]]:
    """Writes weight / max_weight * delta into out, and yields its chunks as they are done."""
    values = update.delta.detach().numpy().astype(np.float32, copy=False)
    scale = weight / terms.max_weight
    step = CHUNK_BYTES // terms.code.word.itemsize
    width = terms.code.coordinates
    for start in range(0, len(out), step):
        part = out[start : start + step]
        block = values[start * width : (start + step) * width]
        terms.code.encode(block, scale=scale, stream=stream, out=part)
        yield part
