"""The charter: what coordinator and sites agree on before the first envelope."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from securefl.errors import ScenarioError
from securefl.files import read_json, write_json
from securefl.scenario import catalog
from securefl.scenario.scenario import Scenario, parse_scenario

_WORDS_OF_A_MODEL = 16  # bytes a coordinate: a model of float32, or words of the largest ring
_BYTES_OF_A_MEMBER = 4096  # its lines in the tables of a masked round
_BYTES_OF_HEADS = 65536
# The keys of a scenario that name no experiment between sites.
_SIMULATED = ("attack", "rehearsal", "init_from", "engine")


@dataclass(frozen=True)
class Charter:
    """The constants of a deployment, the same in every process.

    Args:
        run: names the run in release ids and sessions.
        text: the scenario as given, in TOML.
        overrides: `key.path=value` pairs on top of it.
        server: the coordinator's Ed25519 public key, in hexadecimal.
        roster: site -> its Ed25519 public key, in hexadecimal.
        deadline: seconds after which a stage ends without the sites that did not answer.
    """

    run: str
    text: str
    overrides: tuple[str, ...]
    server: str
    roster: Mapping[str, str]
    deadline: float

    @property
    def digest(self) -> bytes:
        """The SHA-256 that every envelope names."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"securefl charter 1" + canonical.encode()).digest()

    @property
    def keys(self) -> dict[int, bytes]:
        """Site -> its Ed25519 public key."""
        return {int(site): bytes.fromhex(key) for site, key in self.roster.items()}

    @property
    def server_key(self) -> bytes:
        """The coordinator's Ed25519 public key."""
        return bytes.fromhex(self.server)

    def scenario(self) -> Scenario:
        """Returns the scenario. Raises ScenarioError: see `check_deployable`."""
        scenario = parse_scenario(self.text, overrides=self.overrides)
        check_deployable(scenario)
        return scenario

    def write(self, path: Path) -> None:
        """Writes the charter, which holds no secret."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the charter in a file. Raises RunFolderError."""
        values = read_json(path)
        return cls(**{**values, "overrides": tuple(values["overrides"])})


def envelope_limit(scenario: Scenario) -> int:
    """Returns the most bytes of an envelope under a scenario."""
    facts = scenario.facts
    tables = _BYTES_OF_A_MEMBER * facts.clients
    return _WORDS_OF_A_MODEL * facts.coordinates + tables + _BYTES_OF_HEADS


def check_deployable(scenario: Scenario) -> None:
    """Refuses what cannot run between sites, or not yet.

    Raises:
        ScenarioError: a part of the scenario is simulated, or a file of its user's.
    """
    kind = scenario.channel.kind
    if kind not in catalog.APART:
        raise ScenarioError(
            f"channel.kind = {kind!r} does not run between sites yet; use "
            f"{' or '.join(map(repr, catalog.APART))}"
        )
    for key in _SIMULATED:
        if getattr(scenario, key) is not None:
            raise ScenarioError(f"the table or key {key} has no place between sites: remove it")
    if scenario.simulate != type(scenario.simulate)():
        raise ScenarioError("simulate plays faults, which between sites are real: remove it")
    if scenario.data.label_noise is not None:
        raise ScenarioError("data.label_noise changes records, which sites do not: remove it")
    if scenario.facts.reads_files:
        raise ScenarioError(
            "files of your own (data, code or weights) do not run between sites yet; use a "
            "published data set and a model of the catalog"
        )
