"""What a cell has cost, as its timings.json holds it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Timings(NamedTuple):
    """The cost of a cell over all its starts.

    Args:
        starts: how often the cell was begun.
        stages: stage -> wall and CPU seconds.
        carried: stage -> bytes, of the stages of a profiled run that carry some.
    """

    starts: int
    stages: Mapping[str, tuple[float, float]]
    carried: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Timings":
        """Returns the timings that `to_json` wrote. Raises ValueError for anything else."""
        try:
            stages = {
                stage: (float(wall), float(cpu)) for stage, (wall, cpu) in values["stages"].items()
            }
            carried = {stage: int(size) for stage, size in values.get("carried", {}).items()}
            return cls(int(values["starts"]), stages, carried)
        except (KeyError, TypeError, AttributeError, OverflowError) as reason:
            raise ValueError(str(reason)) from None

    def to_json(self) -> dict[str, object]:
        """Returns the values; no table of bytes where nothing carried any."""
        values: dict[str, object] = {"starts": self.starts, "stages": dict(self.stages)}
        return {**values, "carried": dict(self.carried)} if self.carried else values
