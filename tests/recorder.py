"""An observer that keeps everything, for tests."""

from dataclasses import dataclass, field, replace

from securefl.channels.protocol import Observation


@dataclass
class Recorder:
    """Keeps every observation, with a copy of its values as they were at that moment."""

    observations: list[Observation] = field(default_factory=list)

    def observe(self, observation: Observation) -> None:
        values = None if observation.values is None else observation.values.clone()
        self.observations.append(replace(observation, values=values))
