"""What a channel checks of an update before it hides it; no check depends on a client's records."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from securefl.channels.protocol import ClientUpdate
from securefl.errors import ProtocolError


class Asked(Protocol):
    """What a server asked for: the round, and the name of the model to train on."""

    @property
    def round(self) -> int:
        """The number of the round."""

    @property
    def model_hash(self) -> bytes:
        """32 bytes that name the model."""


_Asked = TypeVar("_Asked", bound=Asked)


def check_asked(asked: _Asked | None, name: bytes, *, round: int | None = None) -> _Asked:
    """Returns what was asked for, if it is an update of this round, trained on the model of this name.

    Raises:
        ProtocolError: nothing was asked for, another round, or another model.
    """
    if asked is None:
        raise ProtocolError("no update was asked for")
    if round is not None and asked.round != round:
        raise ProtocolError(
            f"the model is of round {round}, an update of round {asked.round} was asked for"
        )
    if asked.model_hash != name:
        raise ProtocolError("the update is trained on another model than the one asked for")
    return asked


def checked_weight(
    update: ClientUpdate, client: int, *, d: int, weights: Mapping[int, int] | None, max_weight: int
) -> int:
    """Returns the weight that an update carries, and refuses an update that does not fit the terms.

    A weight that the client reports is its number of records: out of range it is held to the range, since a
    refusal would tell the server where it lies.

    Args:
        update: of a client, before it is encoded.
        client: its id.
        d: coordinates.
        weights: public weight of each client; None where clients report theirs.
        max_weight: the largest weight.

    Raises:
        ProtocolError: another length, or another weight than the public one.
    """
    if update.delta.shape != (d,):
        raise ProtocolError(
            f"an update has {d} coordinates here, got shape {tuple(update.delta.shape)}"
        )
    if weights is None:
        return min(max(update.weight, 1), max_weight)
    if update.weight != weights[client]:
        raise ProtocolError("the weight is not the public one")
    return update.weight
