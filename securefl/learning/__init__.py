"""Models, local training at one site, the server's step and the quality of a model.

For federations, and for authors of models and trainers. Nothing here knows about other clients,
about channels or about scenarios.
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
