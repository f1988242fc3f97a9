"""Writes docs/rules.md from the rules' docstrings: `python -m defenses.page > docs/rules.md`."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import defenses

_BEGIN = """# Rules and pre-filters

`from defenses import krum`: rules are pure functions from rows (n, d), one row a client, to one
estimate (d,). Of the rows, f may be corrupt. Rows that are not finite, or beyond 1e18, are set
aside and count against f; `mean` only drops rows that are not finite. A pre-filter returns a
`Mixture`, which every rule takes like rows: `krum(nearest_neighbor_mixing(rows, f=2), f=2)`
computes on n x n and never writes the mixed rows; `tensor()` does. A pass is the measured time of a
sum over all rows; speed: [results/rules.md](results/rules.md).

A scenario with a server can name all of them but `monna`, whose pivot is a trusted client, and
`bucketing`, which draws at random every round. Of peers each trusts itself: `gossip` (called mean
there), `nna`, `monna` (`nna` with momentum), `self_centered_clipping` and `trimmed_neighbors`
(called trimmed_mean) take a node's own row, its neighbours' rows and their weights. Parameters:
[scenario.md](scenario.md). Behind a pre-filter, two rows can be equal up to rounding; which of the
two a rule takes is then a matter of rounding, too.

Made by `python -m defenses.page` from docstrings.
"""
_FIELDS = ("Cost", "Withstands", "Fails against", "Source")
_COLUMNS = ("name", "what it does", "needs", *(field.lower() for field in _FIELDS))


def page() -> str:
    """Returns the page, in Markdown."""
    public = [getattr(defenses, name) for name in defenses.__all__]
    # Only rules and pre-filters say what they withstand; `screen` and the `..._weights` do not.
    functions = [item for item in public if "Withstands:" in (inspect.getdoc(item) or "")]
    prefilters = [item for item in functions if _returns_mixture(item)]
    rules = [item for item in functions if item not in prefilters]
    lines = [
        _BEGIN,
        *_table("Rules", rules),
        "",
        *_table("Pre-filters", prefilters),
    ]
    return "\n".join(lines) + "\n"


def _returns_mixture(function: Callable[..., Any]) -> bool:
    return inspect.signature(function).return_annotation is defenses.Mixture


def _table(title: str, functions: list[Callable[..., Any]]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for function in functions:
        yield f"| {' | '.join(_cells(function))} |"


def _cells(function: Callable[..., Any]) -> list[str]:
    text = inspect.getdoc(function) or ""
    need = re.search(r"needs n >= [^.\n]*", text)
    return [
        f"`{function.__name__}`",
        text.splitlines()[0],
        need[0].removeprefix("needs ") if need else "a row",
        *(_field(text, field) for field in _FIELDS),
    ]


def _field(text: str, field: str) -> str:
    """Returns the text of a docstring's field up to the next field or empty line, on one line."""
    match = re.search(rf"^{field}: (.*?)(?=\n\n|\n[A-Z][a-z ]+: |\Z)", text, re.S | re.M)
    return " ".join(match[1].split()) if match else ""


if __name__ == "__main__":
    sys.stdout.write(page())
