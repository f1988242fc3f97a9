"""What an update must be before any channel hides it: of the right length, with the weight that was agreed."""

from collections.abc import Mapping

from securefl.errors import ProtocolError
from securefl.types import ClientUpdate


def check_update(
    update: ClientUpdate, client: int, *, d: int, weights: Mapping[int, int] | None, max_weight: int
) -> None:
    """Refuse an update that does not fit what the clients of a session agreed on.

    Args:
        update: of a client, before it is encoded.
        client: its id.
        d: coordinates.
        weights: public weight of each client; None where clients report theirs.
        max_weight: the largest weight.

    Raises:
        ProtocolError: another length, or another weight; a weight that is not public is not told.
    """
    if update.delta.shape != (d,):
        raise ProtocolError(f"an update has {d} coordinates here, got shape {tuple(update.delta.shape)}")
    if not 1 <= update.weight <= max_weight:
        raise ProtocolError(f"a weight must be 1 to {max_weight} (max_weight)")  # its own stays here
    if weights is not None and update.weight != weights[client]:
        raise ProtocolError("the weight is not the public one")
