"""A site that trains the model it is handed, where no server asks for an update."""

from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage, UpdateRequest
from securefl.errors import ClientFailure
from securefl.federation.values import Federation


def hand(federation: Federation, client: int, weights: Tensor, round: int) -> int:
    """Hands a model (d,) to a site, which may then pay and train; returns the message's bytes.

    Raises:
        ClientFailure: the site answers where it should train.
        ProtocolError: see `Client.load`.
    """
    name = vector.model_hash(federation.layout or "", weights)
    message = ModelMessage(federation.session, round, name, weights).to_bytes()
    site = federation.clients[client]
    site.load(message)
    # The site's side of the plain channel knows by this for which model it may pay and train.
    if site.receive(UpdateRequest(federation.session, round, name).to_bytes()) is not None:
        raise ClientFailure("it answered where it should train")
    return len(message)
