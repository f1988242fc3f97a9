"""A session that chooses the clients of its sum: both sides, and rounds driven by hand."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement, Sketching
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import NONCE_BYTES, SIGNATURE_BYTES, TAG_BYTES
from securefl.channels.masking.sketches.dealing import proof_bytes, share_bytes
from securefl.channels.masking.sketches.reading import SketchReader
from securefl.channels.masking.sketches.replies import PublicDealing, SealedDealing
from securefl.channels.masking.sketches.selecting import SelectingServer
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.masking.sketches.words import ROOM
from securefl.channels.monotonic import MemoryMonotonic, Monotonic
from securefl.channels.protocol import Selection, View
from securefl.rng import seeded_keystream
from tests.channels.masking.parties import Session, agreement, identity

SIZE = 16


def sketch_terms(
    n: int = 6, *, corrupt: int = 1, liars: int = 1, size: int = SIZE, **changes: Any
) -> Agreement:
    """Returns terms for clients 0 to n - 1, with three coordinates in a ring of 32 bits."""
    code = FixedPoint(ring=32, clip=8.0, rounding="nearest", most=ROOM * n)
    terms = agreement(n, corrupt=corrupt, cohort=n, min_cohort=corrupt + 2)
    terms = replace(terms, code=code, sketching=Sketching(size, liars))
    return replace(terms, **changes)


def everyone(squared: NDArray[np.float64], f: int) -> NDArray[np.float64]:
    """A rule that chooses all."""
    return np.ones(len(squared))


def without_furthest(squared: NDArray[np.float64], f: int) -> NDArray[np.float64]:
    """A rule that leaves out the f clients with the largest sums of distances."""
    weights = np.ones(len(squared))
    if f:
        weights[np.argsort(squared.sum(axis=0), kind="stable")[-f:]] = 0
    return weights


def selection(terms: Agreement, choose: Callable[..., Any] = everyone) -> Selection:
    assert terms.sketching is not None
    return Selection(choose, terms.sketching.liars, fewest=lambda f: 2)


def make_sketching_client(
    client: int,
    terms: Agreement,
    monotonic: Monotonic | None = None,
    reader: SketchReader | None = None,
    kind: type[SketchingClient] = SketchingClient,
    **arguments: Any,
) -> SketchingClient:
    """Returns a client that has answered nothing, or what `monotonic` holds."""
    return kind(
        client,
        identity(client),
        terms,
        stream_for=lambda round: seeded_keystream(0, "rounding", client, round),
        monotonic=monotonic or MemoryMonotonic(),
        reader=reader or SketchReader(),
        **arguments,
    )


class SketchSession(Session):
    """One server and its clients."""

    server: SelectingServer

    def __init__(self, terms: Agreement, choose: Callable[..., Any] = everyone) -> None:
        super().__init__(replace(terms, sketching=None))
        self.terms = terms
        self.server = SelectingServer(identity(-1), terms, selection(terms, choose))
        reader = SketchReader()
        self.clients = {
            client: make_sketching_client(client, terms, reader=reader) for client in terms.roster
        }

    def play(
        self,
        round: int,
        *,
        silent: Mapping[int, int] | None = None,
        cohort: Any = None,
        change: Callable[[int, int, Any], Any] | None = None,
    ) -> View:
        """Plays a whole round; silent is client -> the first unanswered stage.

        Raises RoundAbandoned.
        """
        self.begin(round, cohort)
        for stage in range(1, 11):
            quiet = [client for client, first in (silent or {}).items() if first <= stage]
            change_here = None if change is None else (lambda c, m, s=stage: change(s, c, m))
            view = self.stage(silent=quiet, change=change_here)
            if view is not None:
                return view
        raise AssertionError("a round has ten stages at most")


def resigned(client: int, message: Any, terms: Agreement, change: Callable[[bytes], Any]) -> bytes:
    """Returns a client's message with another body, correctly signed by that client."""
    body = bytes(message)[:-SIGNATURE_BYTES]
    changed = change(body)
    content: bytes = changed if isinstance(changed, bytes) else changed.to_bytes()
    return content + identity(client).signature(content, terms=terms.digest)


def expected_mean(session: Session, clients: tuple[int, ...]) -> torch.Tensor:
    weights = session.terms.weights
    assert weights is not None
    deltas = [weights[client] * session.updates[client].delta.double() for client in clients]
    return torch.stack(deltas).sum(dim=0) / sum(weights[client] for client in clients)


def is_exact(session: Session, view: View) -> bool:
    """Whether a view is the weighted mean of its clients' updates, up to fixed point."""
    mean = expected_mean(session, view.clients)
    return torch.allclose(view.rows[0].double(), mean, rtol=0, atol=1e-6)


def parsed_dealing(body: bytes, terms: Agreement, *, holders: int) -> SealedDealing:
    """Returns a dealing of stage 4, from a message without its signature."""
    assert terms.sketching is not None
    zeros = holders - 1
    proof = proof_bytes(terms.corrupt, zeros)
    return SealedDealing.from_bytes(
        body,
        signed=PublicDealing.signed_length(proof=proof, holders=holders),
        box=NONCE_BYTES + share_bytes(terms.sketching.size, zeros) + TAG_BYTES,
        most=holders,
    )
