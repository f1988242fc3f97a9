"""The records of every site: data sets, their splits between sites, and coins for records.

For all rooms above. A scenario chooses among these data sets, and a foreign package describes its
own with `Task` and `Site`. Nothing here trains, sends or spends.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.data.task import Examples, FederatedData, Site, Task

__all__ = ["Examples", "FederatedData", "Site", "Task"]

_HOMES = {
    "Examples": "securefl.data.task",
    "FederatedData": "securefl.data.task",
    "Site": "securefl.data.task",
    "Task": "securefl.data.task",
}

__getattr__ = door(__name__, _HOMES)
