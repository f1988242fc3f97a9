"""The text of a site's policy: the strict one that a new site gets, and the code that is added."""

from contextlib import suppress

from securefl.errors import ScenarioError
from securefl.federation.policy import CodeRules, parse_policy

STRICT = """\
# What no coordinator can change. `securefl site approve` refuses a charter that asks for more.

# For each data set, over all federations together.
# The noise is this site's own, so that epsilon holds against everybody. "distributed" would allow
# noise in shares, which holds against the coordinator and up to channel.corrupt other sites.
budget = { epsilon = 8.0, delta = 1e-5, test_epsilon = 0.0, places = ["local"] }

# Updates leave only under masks, in sums of at least four sites, of which one may be corrupt.
channel = { allowed = ["masked"], min_cohort = 4, corrupt = 1 }

# The first approval writes the code and the layout of the model that may run here.
code = { allowed = [], layouts = [] }

rounds = { a_day = 100 }

# What may leave about test records: "never", "sums" or "noisy".
evaluation = { leave = "never" }
"""


def with_code(text: str, *, code: str, layout: str) -> str:
    """Returns the text of a policy that lists the code and the layout, too; all else stays.

    Args:
        text: a policy whose table `code`, if it has one, is on one line.
        code: names the code that was approved.
        layout: names the layout of the model that was approved.

    Raises:
        ScenarioError: the text is no policy, or its table `code` is on several lines.
    """
    policy = parse_policy(text)
    allowed = tuple(dict.fromkeys((*policy.code.allowed, code)))
    layouts = tuple(dict.fromkeys((*policy.code.layouts, layout)))
    line = f"code = {{ allowed = {_in_toml(allowed)}, layouts = {_in_toml(layouts)} }}"
    old = [place for place in text.splitlines() if place.replace(" ", "").startswith("code={")]
    # In front of every table header, where a key belongs to the whole file.
    after = text.replace(old[0], line, 1) if old else f"{line}\n{text}"
    rules = CodeRules(allowed=allowed, layouts=layouts)
    with suppress(ScenarioError):
        if parse_policy(after) == policy.model_copy(update={"code": rules}):
            return after
    raise ScenarioError(f"the policy's table code is on several lines; write it as one: {line}")


def _in_toml(texts: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"
