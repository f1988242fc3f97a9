"""What every rule, attack, model and data source has to keep to, as functions to call in tests.

For the authors of plug-ins: `check_rule(my_rule)` raises an AssertionError of one sentence where
the rule would fail, or mislead, in a run. All of ours pass the same checks. Nothing in the other
rooms uses this one.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.testing.attacks import check_attack
    from securefl.testing.data import check_data, check_source
    from securefl.testing.models import check_model
    from securefl.testing.rules import check_rule

__all__ = ["check_attack", "check_data", "check_model", "check_rule", "check_source"]

_HOMES = {
    "check_attack": "securefl.testing.attacks",
    "check_data": "securefl.testing.data",
    "check_model": "securefl.testing.models",
    "check_rule": "securefl.testing.rules",
    "check_source": "securefl.testing.data",
}

__getattr__ = door(__name__, _HOMES)
