"""Models, how one site trains them, the server's step, and how good a model is.

For federations, and for whoever brings a model or a way of training. Nothing here knows other clients, channels in use
or scenarios.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.learning.protocol import Metrics, ServerStep, StepResult, Trained, Trainer

__all__ = ["Metrics", "ServerStep", "StepResult", "Trained", "Trainer"]

_HOMES = {
    "Metrics": "securefl.learning.protocol",
    "ServerStep": "securefl.learning.protocol",
    "StepResult": "securefl.learning.protocol",
    "Trained": "securefl.learning.protocol",
    "Trainer": "securefl.learning.protocol",
}

__getattr__ = door(__name__, _HOMES)
