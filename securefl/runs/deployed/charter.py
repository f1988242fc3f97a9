"""The charter: what coordinator and sites agree on before the first envelope."""

import datetime
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from securefl import vector
from securefl.channels.masking.agreement import MAX_BLOCK
from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.deployed.documents import (
    Document,
    Hex32,
    Host,
    Name,
    NodeKey,
    Pem,
    Port,
    Version,
    moment_of,
    stamp,
)
from securefl.runs.environment import code_hash
from securefl.scenario.assemble.evaluation import counts_layout
from securefl.scenario.assemble.public import PublicParts
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.shared import refuse_paths, schema_digest, shared_part

CHARTER = "charter.json"
SESSIONS_OF_BLOCKS = 8  # that an epoch allows where the sites are dealt into blocks
NUMBERS_A_ROUND = 2  # that a charter allows: a number is lost when a coordinator dies

_MAX_SITES = 4096
_MAX_TEXT = 1 << 18
_MAX_OVERRIDES = 256
_MAX_ROUNDS = 1_000_000
_MAX_DEADLINE = 86_400.0
_WORDS_OF_A_MODEL = 16  # bytes a coordinate: a model of float32, or words of the largest ring
_BYTES_OF_A_MEMBER = 4096  # its lines in the tables of a masked round
_BYTES_OF_HEADS = 65536
Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Short = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Override = Annotated[str, Field(max_length=4096)]


class Shared(Document):
    """The part of a scenario that is the same everywhere.

    Attributes:
        text: in TOML, as given.
        overrides: `key.path=value` pairs on top of it.
    """

    kind: ClassVar[str] = "scenario"

    text: str = Field(max_length=_MAX_TEXT)
    overrides: tuple[Override, ...] = Field(max_length=_MAX_OVERRIDES)

    @classmethod
    def of(cls, text: str, overrides: tuple[str, ...], folder: Path) -> Self:
        """Returns the shared part of a scenario; the schema of own data comes in, paths go.

        Raises:
            ScenarioError: the schema cannot be read, or is too large.
            ValidationError: the text is too long.
        """
        text, overrides = shared_part(text, overrides, folder)
        return cls(text=text, overrides=overrides)

    def scenario(self) -> Scenario:
        """Returns the scenario. Raises ScenarioError: see `check_deployable`."""
        # Somebody else wrote it: no file that it names is looked at.
        refuse_paths(self.text, self.overrides)
        scenario = parse_scenario(self.text, overrides=self.overrides)
        check_deployable(scenario)
        return scenario


class Member(Document):
    """A site in the roster.

    Attributes:
        name: of the site.
        key: its Ed25519 public key, in hexadecimal.
        node: the P-384 public key of its connection, as a compressed point in hexadecimal.
        certificate: of the node key, in PEM, for TLS; empty where no link asks for one.
    """

    kind: ClassVar[str] = "member"

    name: Name
    key: Hex32
    node: NodeKey
    certificate: Pem = ""


class Charter(Document):
    """The constants of a deployment, the same in every process.

    Attributes:
        version: of this document.
        epoch: grows with each charter of a run; the newest counts.
        run: names the run in release ids and sessions, through all epochs.
        valid_from: in UTC; nobody acts before.
        valid_until: in UTC; nobody acts after.
        host: name or address that sites connect to.
        port: of it.
        server: the coordinator's Ed25519 public key, in hexadecimal.
        roster: site -> member, from "0" on.
        shared: the scenario.
        data_schema: SHA-256 of the schema of the sites' own data; None for published data.
        layout: SHA-256 over names, shapes and type of the model's coordinates.
        model: SHA-256 of the first model.
        origin: SHA-256 of the charter whose last model is the first one here; None where the
            scenario's seed makes it.
        code: hash of the source code that all parties run.
        rounds: trainings that the charter allows.
        numbers: of rounds that it allows; crashes lose some.
        deadline: seconds after which a stage ends without the sites that did not answer.
    """

    kind: ClassVar[str] = "charter"

    version: Version
    epoch: int = Field(ge=1, le=1_000_000)
    run: Short
    valid_from: str = Field(max_length=20)
    valid_until: str = Field(max_length=20)
    host: Host
    port: Port
    server: Hex32
    roster: dict[str, Member] = Field(min_length=1, max_length=_MAX_SITES)
    shared: Shared
    data_schema: Sha256 | None
    layout: Sha256
    model: Sha256
    origin: Sha256 | None
    code: Short
    rounds: int = Field(ge=1, le=_MAX_ROUNDS)
    numbers: int = Field(ge=1)
    deadline: float = Field(gt=0, le=_MAX_DEADLINE, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if moment_of(self.valid_from) >= moment_of(self.valid_until):
            raise ValueError("valid_from is not before valid_until")
        if list(self.roster) != [str(site) for site in range(len(self.roster))]:
            raise ValueError("the sites of the roster are not numbered from 0 on")
        if self.numbers != NUMBERS_A_ROUND * self.rounds:
            raise ValueError("numbers is not twice rounds")
        check_members([*self.roster.values()], self.server)
        return self

    @property
    def sessions(self) -> int:
        """Sessions that each epoch allows: one for each coordinator that was killed, and one more.

        Above the size of a block, and where there are groups, each session deals the sites by
        another number. A coordinator that could begin many might wait for a deal that it likes.
        """
        groups = self.shared.scenario().facts.channel_options.get("groups")
        if groups is None and len(self.roster) <= MAX_BLOCK:
            return self.numbers
        return min(self.numbers, SESSIONS_OF_BLOCKS)

    @property
    def keys(self) -> dict[int, bytes]:
        """Site -> its Ed25519 public key."""
        return {int(site): bytes.fromhex(member.key) for site, member in self.roster.items()}

    @property
    def server_key(self) -> bytes:
        """The coordinator's Ed25519 public key."""
        return bytes.fromhex(self.server)

    def scenario(self) -> Scenario:
        """Returns the scenario.

        Raises:
            ScenarioError: it does not run between sites, or not under this charter.
        """
        scenario = self.shared.scenario()
        if (scenario.clients, scenario.rounds) != (len(self.roster), self.rounds):
            raise ScenarioError(
                f"the charter names {len(self.roster)} sites and {self.rounds} rounds, its "
                f"scenario {scenario.clients} and {scenario.rounds}"
            )
        if schema_digest(scenario) != self.data_schema:
            raise ScenarioError("the charter names another data schema than its scenario has")
        return scenario

    def check_clock(self, now: datetime.datetime) -> None:
        """Raises RunFailed outside the validity; the clock of this machine may be wrong."""
        if not moment_of(self.valid_from) <= now <= moment_of(self.valid_until):
            raise RunFailed(
                f"this machine's clock says {stamp(now)}; the charter is valid from "
                f"{self.valid_from} to {self.valid_until}"
            )

    def check_public(self, public: PublicParts) -> None:
        """Raises RunFolderError: code, layout or first model are not the charter's."""
        ours = {"code": code_hash(), "layout": layout_of(public)}
        if self.origin is None:
            ours["model"] = model_of(public)
        for key, value in ours.items():
            if getattr(self, key) != value:
                raise RunFolderError(
                    f"the charter names {key} {getattr(self, key)}, here it is {value}: "
                    "install the same version of securefl at every party"
                )


def check_members(members: list[Member], server: str = "") -> None:
    """Raises ValueError: two parties have the same name or key."""
    values = {
        "the name": [member.name for member in members],
        "the Ed25519 key": [member.key for member in members],
        "the node key": [member.node for member in members],
    }
    for what, of_all in values.items():
        value, count = Counter(of_all).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{count} sites have {what} {value}")
    if server in values["the Ed25519 key"]:
        raise ValueError("a site has the coordinator's key")


def chartered(
    public: PublicParts,
    shared: Shared,
    *,
    server: str,
    roster: Mapping[str, Member],
    address: tuple[str, int],
    valid: tuple[datetime.datetime, datetime.datetime],
    deadline: float,
    epoch: int = 1,
    origin: str | None = None,
) -> Charter:
    """Returns the charter of a run; its arguments are the fields of `Charter`."""
    rounds = public.scenario.rounds
    return Charter(
        version=1,
        epoch=epoch,
        run=public.run,
        valid_from=stamp(valid[0]),
        valid_until=stamp(valid[1]),
        host=address[0],
        port=address[1],
        server=server,
        roster=dict(roster),
        shared=shared,
        data_schema=schema_digest(public.scenario),
        layout=layout_of(public),
        model=model_of(public),
        origin=origin,
        code=code_hash(),
        rounds=rounds,
        numbers=NUMBERS_A_ROUND * rounds,
        deadline=deadline,
    )


def layout_of(public: PublicParts) -> str:
    """Returns the SHA-256 over names, shapes and type of a model's coordinates."""
    layout = f"float32;{vector.layout(public.model)}"
    return f"sha256:{hashlib.sha256(layout.encode()).hexdigest()}"


def model_of(public: PublicParts) -> str:
    """Returns the SHA-256 of the model that a run starts from."""
    weights = vector.to_vector(public.model)
    return f"sha256:{vector.model_hash(vector.layout(public.model), weights).hex()}"


def envelope_limit(scenario: Scenario) -> int:
    """Returns the most bytes of an envelope under a scenario."""
    facts = scenario.facts
    tables = _BYTES_OF_A_MEMBER * facts.clients
    counts = 0 if scenario.leave == "never" else counts_layout(scenario).length
    return _WORDS_OF_A_MODEL * (facts.coordinates + counts) + tables + _BYTES_OF_HEADS
