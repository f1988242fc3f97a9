"""The page docs/rules.md, from the rules' own docstrings: `python -m defenses.page > docs/rules.md`."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import defenses

_BEGIN = """# Rules and pre-filters

`from defenses import krum`: pure functions from rows (n, d), one a client, to one estimate (d,). f is the number of
rows that may be corrupt; rows that are not finite, or beyond 1e18, are set aside and count against it (`mean` drops
what is not finite, and nothing else). A pre-filter gives a `Mixture`, which every rule takes like rows:
`krum(nearest_neighbor_mixing(rows, f=2), f=2)` computes on n x n and never writes the mixed rows; its `tensor()` does.
A pass is the time of a sum over all rows, measured; speed: [results/rules.md](results/rules.md).

A scenario can name all but `monna`, whose pivot is a client that is trusted, and `bucketing`, which draws every round.
Parameters: [scenario.md](scenario.md). Behind a pre-filter rows can be equal to the last digit; which of them a rule
takes is then a matter of rounding.

Made by `python -m defenses.page` from docstrings.
"""
_FIELDS = ("Cost", "Withstands", "Fails against", "Source")


def page() -> str:
    """The page, in Markdown."""
    told = [getattr(defenses, name) for name in defenses.__all__]
    told = [function for function in told if "Withstands:" in (inspect.getdoc(function) or "")]
    before = [
        function
        for function in told
        if inspect.signature(function).return_annotation is defenses.Mixture
    ]
    rules = [function for function in told if function not in before]
    return "\n".join([_BEGIN, *_table("Rules", rules), "", *_table("Pre-filters", before)]) + "\n"


def _table(title: str, functions: list[Callable[..., Any]]) -> Iterator[str]:
    yield from (
        f"## {title}",
        "",
        "| name | what comes out | needs | " + " | ".join(f.lower() for f in _FIELDS) + " |",
    )
    yield "|---" * (3 + len(_FIELDS)) + "|"
    for function in functions:
        text = inspect.getdoc(function) or ""
        needs = re.search(r"needs n >= [^.\n]*", text)
        told = [_field(text, field) for field in _FIELDS]
        least = needs[0].removeprefix("needs ") if needs else "a row"
        yield f"| `{function.__name__}` | {text.splitlines()[0]} | {least} | {' | '.join(told)} |"


def _field(text: str, field: str) -> str:
    found = re.search(rf"^{field}: (.*?)(?=\n\n|\n[A-Z][a-z ]+: |\Z)", text, re.S | re.M)
    return " ".join(found[1].split()) if found else ""


if __name__ == "__main__":
    sys.stdout.write(page())
