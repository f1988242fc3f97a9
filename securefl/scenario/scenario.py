"""Scenario: TOML -> a frozen, checked description of one federation."""

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from securefl.errors import ScenarioError
from securefl.scenario.checks.all import check_names, check_parts
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.messages import sentence
from securefl.scenario.overrides import override
from securefl.scenario.resolve import resolved


class Scenario(Declaration):
    """One federation, complete and checked as a whole.

    Build it with `load_scenario`, `parse_scenario` or `make_scenario`, whose errors are one sentence each; never with
    `model_copy`, which would carry the facts of another.
    """

    @cached_property
    def facts(self) -> Facts:
        """What follows from the declaration."""
        return Facts(self)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Scenario":
        check_names(self)
        check_parts(self, self.facts)
        return self

    @property
    def partition(self) -> str:
        """How the records are dealt; the data set's own way by default."""
        return self.facts.partition

    @property
    def site_records(self) -> tuple[int, ...]:
        """Public number of training records of each client. Raises ScenarioError where there is none."""
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
        """Every value in force, defaults filled in, ready for JSON (inf as a string)."""
        return resolved(self, self.facts)


def load_scenario(path: Path, *, overrides: tuple[str, ...] = ()) -> Scenario:
    """The scenario in a TOML file, with `key.path=value` overrides.

    Raises:
        ScenarioError: the file cannot be read, is not TOML, or describes nothing that can be run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise ScenarioError(
            f"cannot read {path}: {getattr(reason, 'strerror', None) or 'not UTF-8 text'}"
        ) from None
    return parse_scenario(text, overrides=overrides)


def parse_scenario(text: str, *, overrides: tuple[str, ...] = ()) -> Scenario:
    """The scenario in TOML text, with `key.path=value` overrides. Raises ScenarioError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ScenarioError(f"the scenario is not valid TOML: {reason}") from None
    if {"base", "axes", "seeds"} & set(values):
        raise ScenarioError(
            "this is a study, not a scenario: use securefl bench, with --dry-run to check it"
        )
    override(values, overrides)
    return make_scenario(values)


def make_scenario(values: dict[str, Any]) -> Scenario:
    """The scenario of these values, as TOML or resolved.json hold them. Raises ScenarioError."""
    try:
        return Scenario.model_validate(values)
    except ValidationError as reason:
        raise ScenarioError(sentence(reason, Scenario, "the scenario")) from None
