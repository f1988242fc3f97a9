"""The named mistakes as a page: docs/mistakes.md is this module's output.

Written anew by `python -m securefl.privacy.lint.page > docs/mistakes.md`.
"""

from collections.abc import Iterator

from securefl.privacy.lint.mistakes import MISTAKES

_BEGIN = """\
# Mistakes that make an epsilon wrong

`securefl audit RUN` looks for them in a run folder (the scenario, the ledgers, the rounds, the metrics), `validate` and
`run` for what they can see. With a *mistake* the claim falls, and `audit` ends with exit code 1; a *remark* does not
touch the claim, but what one may conclude from it. What a folder cannot show, a lint cannot find: noise that was
booked and never drawn, records that stand in two hospitals, a count that was declared too high.

Made by `python -m securefl.privacy.lint.page` from the lint.
"""


def page() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _BEGIN
    for name, mistake in MISTAKES.items():
        yield f"## {name}\n"
        yield f"*{'Mistake' if mistake.grave else 'Remark'}.* {mistake.why}\n"
        yield f"Source: {mistake.source}.\n"


if __name__ == "__main__":
    print(page(), end="")
