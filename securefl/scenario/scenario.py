"""Scenario: TOML -> a frozen, checked description of one federation."""

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences
from securefl.scenario.checks.attack import check_attack
from securefl.scenario.checks.code import check_code
from securefl.scenario.checks.data import check_data
from securefl.scenario.checks.engine import check_evaluation
from securefl.scenario.checks.fitted import check_fitted
from securefl.scenario.checks.harmonise import check_harmonise, check_scanners
from securefl.scenario.checks.learning import check_model, check_step
from securefl.scenario.checks.names import check_names
from securefl.scenario.checks.one_sum import check_one_sum
from securefl.scenario.checks.place import check_cut, check_place, check_survivors
from securefl.scenario.checks.privacy import check_privacy
from securefl.scenario.checks.refine import check_refine
from securefl.scenario.checks.regions import check_meetings
from securefl.scenario.checks.sketch import check_sketch
from securefl.scenario.checks.topology import check_algorithm, check_topology
from securefl.scenario.checks.training import check_training
from securefl.scenario.checks.unit import check_unit
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.overrides import override
from securefl.scenario.resolve import resolved


class Scenario(Declaration):
    """One federation, complete and checked as a whole.

    Build it with `load_scenario`, `parse_scenario` or `make_scenario`, which refuse in plain
    sentences; never with `model_copy`, which would carry the facts of another scenario.
    """

    @cached_property
    def facts(self) -> Facts:
        """Everything that follows from the declaration."""
        return Facts(self)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Scenario":
        """Checks the parts in an order in which each may rest on those before it.

        A later check would fail in other words on what an earlier one refuses, so the first
        refusal ends them.
        """
        check_names(self)
        facts = self.facts
        if self.code is not None:
            check_code(self.code, facts)
        check_algorithm(self, facts)
        check_one_sum(self, facts)
        check_data(self, facts)
        check_unit(self, facts)
        check_sketch(self, facts)
        check_scanners(self, facts)
        check_harmonise(self, facts)
        check_model(self, facts)
        check_training(self, facts)
        check_privacy(self, facts)
        check_place(self, facts)
        check_meetings(self, facts)
        check_survivors(self, facts)
        check_cut(self, facts)
        if self.attack is not None:
            check_attack(self, self.attack, facts)
        check_step(facts)
        check_fitted(self, facts)
        check_topology(self, facts)
        check_evaluation(self, facts)
        check_refine(self, facts)
        return self

    @property
    def partition(self) -> str:
        """How the records are dealt; the data set's own way by default."""
        return self.facts.partition

    @property
    def site_records(self) -> tuple[int, ...]:
        """Public training records of each client. Raises ScenarioError without."""
        return self.facts.site_records

    @property
    def clients(self) -> int:
        """Number of clients."""
        return self.facts.clients

    @property
    def cohort_size(self) -> int:
        """Clients invited to a round."""
        return self.facts.cohort_size

    def resolved(self) -> dict[str, Any]:
        """Returns every value in force, ready for JSON (inf as a string)."""
        return resolved(self, self.facts)


def load_scenario(path: Path, *, overrides: tuple[str, ...] = ()) -> Scenario:
    """Returns the scenario in a TOML file, with `key.path=value` overrides.

    Raises:
        ScenarioError: the file cannot be read, is not TOML, or describes nothing that can run.
    """
    return parse_scenario(read_text(path), overrides=overrides, folder=path.parent)


def parse_scenario(
    text: str, *, overrides: tuple[str, ...] = (), folder: Path | None = None
) -> Scenario:
    """Returns the scenario in TOML text.

    Args:
        text: TOML, without a key `folder`.
        overrides: `key.path=value` pairs.
        folder: where relative paths start; the current folder by default.

    Raises:
        ScenarioError: the text is not TOML, or describes nothing that can run.
    """
    values = parse_toml(text, "the scenario")
    if {"base", "axes", "seeds"} & set(values):
        raise ScenarioError(
            "this is a study, not a scenario: use securefl bench, with --dry-run to check it"
        )
    # Whoever wrote the text must not say that it came from a folder that is trusted.
    if "folder" in values:
        raise ScenarioError("folder is filled in: remove it, or pass --set folder=PATH")
    # Overrides change the text before it is checked, so that they are refused in the same words.
    for given in overrides:
        override(values, given)
    values.setdefault("folder", str((folder or Path()).absolute()))
    return make_scenario(values)


def make_scenario(values: dict[str, Any]) -> Scenario:
    """Returns the scenario of values from TOML or JSON. Raises ScenarioError."""
    try:
        return Scenario.model_validate(values)
    except ValidationError as reason:
        raise ScenarioError(sentences(reason, Scenario, "the scenario")) from None
