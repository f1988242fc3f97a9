"""Objects of this process under names that a scenario can hold.

name = hold(my_rule, kind="rule")  # "object:my_rule-3fa29c1be055"
"""

import inspect
import re
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from securefl.errors import ScenarioError
from securefl.scenario.entries import AttackEntry, ModelEntry, RuleEntry
from securefl.scenario.plugins.digest import code_digest
from securefl.scenario.plugins.loading import note_file
from securefl.scenario.tables import OBJECT_PREFIX, Code

ENTRIES = (ModelEntry, RuleEntry, AttackEntry)
DIGITS = 12  # of a hash, in a name
# The version of code that has no hash which another process could compare.
ONLY_HERE = "object of process "
_THIS_PROCESS = ONLY_HERE + secrets.token_hex(8)


class Held(NamedTuple):
    """An object with what identifies its code."""

    value: Any
    code: Code


# A scenario may be asked about its objects as long as somebody holds it: nothing is taken out.
_held: dict[str, Held] = {}


def is_object(name: str) -> bool:
    """Whether a name means an object of a process."""
    return name.startswith(OBJECT_PREFIX)


def hold(value: Any, *, kind: str) -> str:
    """Returns the name of an object, under which this process finds it until it ends.

    Args:
        value: a function, a class or an entry.
        kind: what it is for, in words; its name where it has none of its own.

    Raises:
        ScenarioError: it is of another kind, such as a name, or a network instead of its class.
    """
    if isinstance(value, nn.Module):
        raise ScenarioError(
            f"{kind}= takes a function or a class that builds the network, called with the task: "
            f"every run starts from weights of its own; got a finished {type(value).__name__}"
        )
    if not (callable(value) or isinstance(value, ENTRIES)):
        raise ScenarioError(
            f"{kind}= takes a function, a class or an entry, got a {type(value).__name__}; "
            "a name goes into the scenario"
        )
    label = f"{OBJECT_PREFIX}{_label(value, kind)}"
    digest = code_digest(value)
    if digest is None:
        name = _name_here(value, label)
        code = Code(version=_THIS_PROCESS)
    else:
        name = f"{label}-{digest[:DIGITS]}"
        code = Code(sha256=digest)
    _held.setdefault(name, Held(value, code))
    for file in _files_of(value):
        note_file(file)
    return name


def hold_records(value: Any) -> str:
    """Returns the name of sites with their records; equal ones have several names.

    What identifies them is the digest of their contents, and not their name.
    """
    label = f"{OBJECT_PREFIX}data"
    name = _name_here(value, label)
    _held.setdefault(name, Held(value, Code()))
    return name


def held(name: str) -> Held:
    """Returns the object of a name. Raises ScenarioError in any other process."""
    if name not in _held:
        raise ScenarioError(
            f"{name} is an object of another Python process, or of an earlier one; what workers "
            "and later commands are to find is named as python:FILE.py:function"
        )
    return _held[name]


def of_other_process(scenario: Mapping[str, Any]) -> str | None:
    """Returns an object of a resolved scenario that only another process had; None without one."""
    for origin, code in (scenario.get("code") or {}).items():
        version = code.get("version") or ""
        if version.startswith(ONLY_HERE) and version != _THIS_PROCESS:
            return str(origin)
    return None


def _name_here(value: Any, label: str) -> str:
    """Returns a name for an object without a hash: the one that it has, or a new one."""
    for name, other in _held.items():
        if other.value is value and name.startswith(f"{label}-"):
            return name
    return f"{label}-{len(_held) + 1}"


def _label(value: Any, kind: str) -> str:
    """Returns the object's own name, in letters, digits and _."""
    functions = [function for function in _functions(value) if hasattr(function, "__name__")]
    name = functions[0].__name__ if functions else kind
    return re.sub(r"\W+", "", name, flags=re.ASCII) or kind


def _files_of(value: Any) -> Iterator[str]:
    """Yields the files of an object's functions, as tracebacks name them."""
    for function in _functions(value):
        members = vars(function).values() if inspect.isclass(function) else [function]
        for member in members:
            if inspect.isfunction(member):
                yield member.__code__.co_filename


def _functions(value: Any) -> Iterator[Any]:
    """Yields the functions or classes that an object consists of."""
    if isinstance(value, AttackEntry):
        yield from value.functions
    elif isinstance(value, partial):
        yield value.func
    elif isinstance(value, ModelEntry | RuleEntry):
        yield value.function
    else:
        yield value
