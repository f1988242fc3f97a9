"""How a package exports names without importing their modules.

torch and dp-accounting take seconds to import, which `securefl --help` must not cost.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def door(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's `__getattr__`, which imports a public name when it is first used.

    Args:
        package: the name of the module.
        homes: public name -> the module that defines it.
    """

    def getattr_of_module(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return getattr(module, name)

    return getattr_of_module
