"""A deployment inside one process: agents behind a link that keeps all bytes that pass."""

import datetime
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.apart import Membership
from securefl.channels.monotonic import MemoryMonotonic, Monotonic
from securefl.data.task import Examples
from securefl.errors import NotReady
from securefl.federation.policy import Budget, ChannelRules, CodeRules, EvaluationRules, Policy
from securefl.federation.values import State
from securefl.runs.cell import Cell
from securefl.runs.deployed.agent import Agent, Takes
from securefl.runs.deployed.audit_log import AuditLog
from securefl.runs.deployed.charter import Charter, Member, Shared, chartered, envelope_limit
from securefl.runs.deployed.coordinator import coordinate
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Sealed
from securefl.runs.deployed.journal import Journal
from securefl.runs.deployed.own_records import NotReadySpeaker
from securefl.runs.deployed.receipts import ReceiptBook
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import (
    counting_parts,
    judging_shares,
    open_figures_ledger,
)
from securefl.scenario.assemble.public import public_parts, server_parts
from securefl.scenario.assemble.site import SiteParts, site_parts

SGD = """
seed = 1
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 0.5 }
weights = "equal"
"""
DP = """
seed = 1
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "dp_sgd", batch = 64, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { epsilon = 8.0, noise_multiplier = 2.0, noise = "seeded", records = [200, 173, 31, 86] }
"""
MASKED = 'channel = { kind = "masked", min_cohort = 3 }\n'


@dataclass
class MemoryLink:
    """Hands envelopes to agents at once.

    Attributes:
        agents: site -> what answers.
        passed: everything that went through, both ways.
        trips: the sites of each trip.
        tamper: site, reply -> the frames that arrive in its place.
    """

    agents: Mapping[int, Agent]
    passed: list[bytes] = field(default_factory=list)
    trips: list[list[int]] = field(default_factory=list)
    tamper: Callable[[int, bytes], list[bytes]] = lambda site, reply: [reply]

    def carry(
        self, envelopes: Mapping[int, Sealed], seconds: float
    ) -> Generator[tuple[int, bytes], None, None]:
        self.trips.append(list(envelopes))
        for site, sealed in envelopes.items():
            envelope = bytes(sealed)
            reply = self.agents[site].answer(envelope)
            self.passed += [envelope, reply or b""]
            for frame in self.tamper(site, reply or b""):
                yield site, frame


@dataclass(frozen=True)
class Deployment:
    """All parties of a deployment."""

    charter: Charter
    server: Ed25519PrivateKey
    keys: Mapping[int, Ed25519PrivateKey]
    parts: Mapping[int, SiteParts]
    monotonics: Mapping[int, Monotonic]
    link: MemoryLink
    desk: Desk
    cell: Cell

    def started(self, site: int, folder: Path) -> Agent:
        """Returns a site's agent as after a restart: what is on disk is there, its secrets not."""
        public = public_parts(self.charter.scenario(), run=self.charter.run)
        own = load_data(public.scenario).sites[site].train
        parts = site_parts(public, site, own, ledger=folder / f"{site}.jsonl")
        home = folder / f"site-{site}"
        return agent_of(
            self.charter, site, self.keys[site], parts, home, monotonic=self.monotonics[site]
        )

    def play(self) -> State:
        parts = server_parts(self.charter.scenario(), run=self.charter.run)
        return coordinate(parts, self.desk, self.server, self.cell)


def charter_of(
    text: str,
    *,
    keys: Mapping[int, bytes],
    server: bytes = b"\0" * 32,
    run: str = "0" * 16,
    overrides: tuple[str, ...] = (),
) -> Charter:
    """Returns a charter for sites with these Ed25519 keys; their node keys are of no use."""
    shared = Shared(text=text, overrides=overrides)
    now = datetime.datetime.now(datetime.UTC)
    return chartered(
        public_parts(shared.scenario(), run=run),
        shared,
        server=server.hex(),
        roster={
            str(site): Member(name=f"site-{site}", key=key.hex(), node=f"02{site:096x}")
            for site, key in keys.items()
        },
        address=("127.0.0.1", 1),
        valid=(now, now + datetime.timedelta(days=1)),
        deadline=5.0,
    )


def free_policy(charter: Charter) -> Policy:
    """Returns a policy that allows everything under a charter."""
    return Policy(
        budget=Budget(epsilon=math.inf, test_epsilon=math.inf),
        channel=ChannelRules(allowed=("plain", "masked"), min_cohort=1),
        code=CodeRules(allowed=(charter.code,), layouts=(charter.layout,)),
        evaluation=EvaluationRules(leave="sums"),
    )


def agent_of(
    charter: Charter,
    site: int,
    key: Ed25519PrivateKey,
    parts: SiteParts | NotReady,
    folder: Path,
    policy: Policy | None = None,
    monotonic: Monotonic | None = None,
    judging: Examples | None = None,
) -> Agent:
    """Returns a site's agent, which keeps its journal in the folder and goes on from there."""
    folder.mkdir(exist_ok=True)
    log = AuditLog.opened(folder / "audit.jsonl")
    monotonic = monotonic or MemoryMonotonic()
    rules = Rules(policy or free_policy(charter), charter, log)
    if isinstance(parts, NotReady):
        speaker: Takes = NotReadySpeaker(parts)
        ledger = None
    else:
        member = Membership(site, key, charter.keys, charter.server_key, monotonic)
        counting = None
        if judging is not None:
            figures = open_figures_ledger(
                parts.public.scenario, folder.with_name(f"{site}.test.jsonl")
            )
            counts = counting_parts(parts.public, site, judging, ledger=figures)
            counting = Speaker(
                counts,
                member,
                rules.permit_counting,
                terms=lambda session: folder / f"counts-terms.{session}.json",
            )
        speaker = Speaker(
            parts,
            member,
            rules.permit,
            counting,
            terms=lambda session: folder / f"terms.{session}.json",
        )
        ledger = parts.ledger
    return Agent(
        charter,
        site,
        key,
        speaker,
        limit=envelope_limit(charter.scenario()),
        journal=Journal(
            *(folder, charter.digest, site, key),
            log=log,
            monotonic=monotonic,
            ledger=ledger,
        ),
        rules=rules,
    )


def deployment(text: str, folder: Path, *, sites: int = 4) -> Deployment:
    """Returns a deployment whose sites keep their ledgers in the folder."""
    server = Ed25519PrivateKey.generate()
    cell = Cell(folder / "coordinator")
    run = cell.open()
    keys = {site: Ed25519PrivateKey.generate() for site in range(sites)}
    public = {site: key.public_key().public_bytes_raw() for site, key in keys.items()}
    server_public = server.public_key().public_bytes_raw()
    charter = charter_of(text, run=run, server=server_public, keys=public)
    scenario = charter.scenario()
    data = load_data(scenario)
    monotonics = {site: MemoryMonotonic() for site in keys}
    parts, agents = {}, {}
    for site, key in keys.items():
        shared = public_parts(scenario, run=run)
        own = data.sites[site].train
        parts[site] = site_parts(shared, site, own, ledger=folder / f"{site}.jsonl")
        judging = judging_shares(data)[site] if scenario.leave != "never" else None
        home = folder / f"site-{site}"
        agents[site] = agent_of(
            charter, site, key, parts[site], home, monotonic=monotonics[site], judging=judging
        )
    link = MemoryLink(agents)
    receipts = ReceiptBook(folder / "receipts.json", public)
    limit = envelope_limit(scenario)
    desk = Desk(charter, server, link, limit=limit, receipts=receipts)
    return Deployment(charter, server, keys, parts, monotonics, link, desk, cell)
