"""The facts of a round with sketches that every client computes for itself, and their digests."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from securefl.channels.masking.agreement import Agreement, Sketching
from securefl.channels.masking.sketches.dealing import context_of
from securefl.channels.masking.sketches.matrix import Matrix, seed_of
from securefl.channels.masking.wire import ID, Table, pack_table

_UPLOADS = b"securefl masking 1, list of uploads"
_DEALINGS = b"securefl masking 1, all dealings"
_FACTS = b"securefl masking 1, facts of dealings"
_KNOWN = b"securefl masking 1, matrix of a simulation"
_STATEMENT = b"securefl masking 1, statement on chosen clients"

# Of sealed boxes: one label a purpose.
SEALED_SKETCHES = b"securefl masking 1, sealing of sketches"
SEALED_PAIR_SKETCHES = b"securefl masking 1, sealing of pair sketches"


def sketching_of(terms: Agreement) -> Sketching:
    """Returns how clients are chosen. Raises ValueError: the terms choose none."""
    if terms.sketching is None:
        raise ValueError("these terms choose no clients by their sketches")
    return terms.sketching


def promise_of(nonce: bytes) -> bytes:
    """Returns SHA-256 of a nonce."""
    return hashlib.sha256(nonce).digest()


def digest_of_uploads(digests: Table) -> bytes:
    """Returns 32 bytes that fix who uploaded what. The order of a table is its clients'."""
    return hashlib.sha256(_UPLOADS + pack_table(digests)).digest()


@dataclass(frozen=True)
class Facts:
    """What is fixed once the uploads have arrived, and what dealings are about.

    It holds everything about which a server could tell dealers different stories. The distance of a
    sketch to one under another matrix, or to that of an update that a chosen model makes zero,
    would show the norm of an update.

    Args:
        terms: of the session.
        round: its number.
        nonce: of the server, which it had promised before.
        model_hash: names the model that was trained on.
        digests: client -> digest of its masked words.
    """

    terms: Agreement
    round: int
    nonce: bytes
    model_hash: bytes
    digests: Table

    def context(self, label: bytes) -> bytes:
        """Returns the digest of what dealings under a label are about, see `dealing.context_of`."""
        uploads = digest_of_uploads(self.digests)
        facts = hashlib.sha256(_FACTS + self.nonce + self.model_hash + uploads).digest()
        return context_of(label, session=self.terms.session, round=self.round, uploads=facts)

    @cached_property
    def matrix(self) -> Matrix:
        """The matrix of the round, which nobody knew before all uploads were fixed."""
        sketching = sketching_of(self.terms)
        if sketching.known_seed:
            seed = hashlib.sha256(_KNOWN + sketching.known_seed + ID.pack(self.round)).digest()
        else:
            seed = seed_of(
                terms=self.terms.digest,
                session=self.terms.session,
                round=self.round,
                nonce=self.nonce,
                uploads=digest_of_uploads(self.digests),
            )
        return Matrix(seed, size=sketching.size, d=self.terms.words)


def digest_of_dealings(signed: Table) -> bytes:
    """Returns 32 bytes that fix who dealt what."""
    return hashlib.sha256(_DEALINGS + pack_table(signed)).digest()


def statement_on(chosen: bytes, dealings: bytes) -> bytes:
    """Returns the digest that clients sign in stage 7.

    Args:
        chosen: the statement on keys, sharing clients, chosen clients and model.
        dealings: digest of all dealings, which name the list of uploads.
    """
    return hashlib.sha256(_STATEMENT + chosen + dealings).digest()


def fewest_chosen(terms: Agreement) -> int:
    """Returns how many clients a sum takes, at least: 2 c + 1, or the minimum cohort.

    More than half of them are then honest. Every client computes this for itself, so that a server
    cannot choose fewer. A larger minimum cohort holds the server to more, and costs as many
    drop-outs.

    Where 2 c + 2 f + 1 clients are not away, liars cannot stop a round by this: if f are silent, a
    rule leaves out f more, and if each disputes with an honest client, it leaves out nobody else.
    """
    return max(terms.min_cohort, 2 * terms.corrupt + 1)


def fewest_answers(terms: Agreement) -> int:
    """Returns how many clients a round with sketches needs; see `Sketching.fewest_answers`."""
    return sketching_of(terms).fewest_answers(terms.corrupt)


def points_of(block: tuple[int, ...], clients: tuple[int, ...]) -> dict[int, int]:
    """Returns the x of each client's shares: its place in the block, from 1."""
    return {client: block.index(client) + 1 for client in clients}
