"""The checks of an update before a channel hides it; none depends on a client's records."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from securefl.channels.protocol import ClientUpdate
from securefl.errors import ProtocolError
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent


class Request(Protocol):
    """A server's request for an update: its round, and the name of the model to train on."""

    @property
    def round(self) -> int:
        """The number of the round."""

    @property
    def model_hash(self) -> bytes:
        """32 bytes that name the model."""


_Request = TypeVar("_Request", bound=Request)


def check_asked(request: _Request | None, name: bytes, *, round: int | None = None) -> _Request:
    """Returns the request, if it asks for an update of this round and this model.

    Args:
        request: the open request; None if there is none.
        name: of the model at hand.
        round: of the model at hand; None to leave it unchecked.

    Raises:
        ProtocolError: nothing was asked for, another round, or another model.
    """
    if request is None:
        raise ProtocolError("no update was asked for")
    if round is not None and request.round != round:
        raise ProtocolError(
            f"the model is of round {round}, an update of round {request.round} was asked for"
        )
    if request.model_hash != name:
        raise ProtocolError("the update is trained on another model than the one asked for")
    return request


def check_shares(spent: PrivacyEvent | None, event: DiscreteGaussianSum | None) -> None:
    """Refuses an update that is booked otherwise than the sum that it would enter.

    Args:
        spent: what the update is booked as.
        event: the cost of a sum, where the channel adds a share of noise; None where it adds none.

    Raises:
        ProtocolError: the channel would add another noise than the one that is paid for.
    """
    if event is None and isinstance(spent, DiscreteGaussianSum):
        raise ProtocolError("the update needs shares of noise, and this channel adds none")
    if event is not None and spent != event:
        raise ProtocolError("the update is not booked as a sum under these shares of noise")


def checked_weight(
    update: ClientUpdate, client: int, *, d: int, weights: Mapping[int, int] | None, max_weight: int
) -> int:
    """Returns the weight that an update carries; refuses an update that does not fit the terms.

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
    # A reported weight is the client's number of records. Out of range it is clipped, not refused:
    # a refusal would tell the server where that number lies.
    if weights is None:
        return min(max(update.weight, 1), max_weight)
    if update.weight != weights[client]:
        raise ProtocolError("the weight is not the public one")
    return update.weight
