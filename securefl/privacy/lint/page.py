"""Writes docs/mistakes.md: `python -m securefl.privacy.lint.page > docs/mistakes.md`."""

from collections.abc import Iterator

from securefl.privacy.lint.mistakes import MISTAKES

_BEGIN = """\
# Mistakes that make an epsilon wrong

`securefl audit RUN` looks for these mistakes in a run folder: the scenario, the ledgers, the
rounds, the metrics. `validate` and `run` look for those that a scenario shows. With a *mistake* the
claim falls, and `audit` ends with exit code 1. A *remark* does not touch the claim, but the
conclusions that one may draw from it.

A lint cannot find what a folder does not show: noise that was booked and never drawn, records that
two hospitals share, a declared count that is too high.

Made by `python -m securefl.privacy.lint.page` from the lint.
"""


def page() -> str:
    """Returns the page, in Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _BEGIN
    for name, mistake in MISTAKES.items():
        weight = "Mistake" if mistake.grave else "Remark"
        yield f"## {name}\n"
        yield f"*{weight}.* {mistake.why}\n"
        yield f"Source: {mistake.source}.\n"


if __name__ == "__main__":
    print(page(), end="")
