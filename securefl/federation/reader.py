"""Reads and checks the global model that a client gets."""

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.errors import ProtocolError


class ModelReader:
    """Reads model messages; one that several clients get is read once.

    A deployment has one client a process, which reads and checks each of its messages. In a
    simulation the server hands the same bytes to every client, and parsing and hashing them for
    each would be a quarter of a round of small models.

    Guarantees:
        - Only the same immutable object counts as the same message, never equal bytes.
        - A model that somebody wrote into is not handed out again.

    Args:
        layout: names and shapes of the model's parameters, for the hash that names a model. None
            where clients pass the model on, under a name that reveals nothing about its weights.
        d: coordinates of the model.
        session: 16 bytes that name the session.
    """

    def __init__(self, *, layout: str | None, d: int, session: bytes) -> None:
        self._layout = layout
        self._d = d
        self._session = session
        self._message: bytes | None = None  # the latest one
        self._model: ModelMessage | None = None  # its content, checked

    def read(self, message: bytes) -> ModelMessage:
        """Returns the model in a message. Clients share its weights, and must not change them.

        Raises:
            ProtocolError: the message is malformed or belongs to another session. Where the sender
                holds the model: the weights are not finite, or have another name than the message
                says. Key holders never make a model that is not finite.
        """
        if message is self._message and self._model is not None and _is_untouched(self._model):
            return self._model
        model = ModelMessage.from_bytes(message, d=self._d)
        if model.session != self._session:
            raise ProtocolError("the model belongs to another session")
        if self._layout is not None:
            _check_weights(model, self._layout)
        # Bytes cannot change; a buffer could, after it was checked.
        if isinstance(message, bytes):
            self._message = message
            self._model = model
        return model


def _is_untouched(model: ModelMessage) -> bool:
    """Whether torch has written into the weights since they were read."""
    return model.weights._version == 0


def _check_weights(model: ModelMessage, layout: str) -> None:
    """Raises ProtocolError unless the weights are finite and have the message's name."""
    if not vector.is_finite(model.weights):
        raise ProtocolError(f"the model of round {model.round} is not finite")
    if model.name != vector.model_hash(layout, model.weights):
        raise ProtocolError(
            f"the model of round {model.round} is not the one that its message names"
        )
