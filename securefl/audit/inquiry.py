"""Inquiries: who looks at whom and by which coins, with the rehearsals and shadows that follow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefl.audit.bounds import Claim
from securefl.audit.covered import knows_too_much, sees_too_much
from securefl.audit.knowledge import Watcher, Watching
from securefl.audit.replay import Replay
from securefl.audit.threats import EVERYWHERE, SERVER, ThreatModel, adversaries_in, threat
from securefl.audit.vantage.looking import Looking, Vantage
from securefl.audit.vantage.vantages import VANTAGES
from securefl.audit.weights import client_weights, weights_in_step, weights_in_sum
from securefl.data.task import FederatedData, Task
from securefl.errors import ScenarioError
from securefl.federation.record import RoundRecord
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.events import PrivacyEvent
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.scenario import Scenario, make_scenario

OnRound = Callable[[str, RoundRecord], None]
SEED_STRIDE = 1_000_003  # between the federation's seeds of two shadows


def _unfit_labels(task: Task) -> str | None:
    """Returns the kind of labels that no attack here is made for; None where records have one."""
    if task.regression:
        return "real targets"
    if task.groups:
        return "coarse labels"
    return "several labels each" if task.multilabel else None


@dataclass(frozen=True)
class Inquiry:
    """One adversary that looks at one client.

    Attributes:
        scenario: what the adversary looks at.
        adversary: its name among the threat models.
        colluders: clients on its side, where it has any.
        target: the client that it looks at.
        seed: decides the coins of the audit.
        booked: event -> how often, from the target's ledger of a run that is audited. The claim
            is then that ledger's; without it, the claim is that of the replay's own ledger.

    Raises:
        ScenarioError: the scenario's topology has no such adversary, the scenario has no such
            clients, the target is corrupt, the records bear several labels, coarse ones or real
            targets, or the scenario is a rehearsal already, keeps its best model, or has an
            algorithm whose updates are no changes of the model.
    """

    scenario: Scenario
    adversary: str
    colluders: int = 1
    target: int = 0
    seed: int = 0
    booked: Mapping[PrivacyEvent, int] | None = None

    def __post_init__(self) -> None:
        clients = self.scenario.clients
        _refuse(misfit(self.scenario, self.adversary))
        if not 0 <= self.target < clients:
            raise ScenarioError(f"--target: there is no client {self.target} among {clients}")
        if self.threat.clients and not 1 <= self.colluders < clients:
            raise ScenarioError(
                f"--colluders: {self.colluders} of {clients} clients cannot look at another one; "
                f"at least 1, at most {clients - 1}"
            )
        _refuse(knows_too_much(self.scenario, self.adversary, self.colluders))
        labels = _unfit_labels(self.scenario.facts.task)
        if labels is not None:
            raise ScenarioError(f"the records bear {labels}, which no attack here is made for")
        if self.scenario.rehearsal is not None:
            raise ScenarioError(
                "the scenario is a rehearsal already: take its rehearsal table away"
            )
        if self.scenario.keeps_best:
            raise ScenarioError(
                "an audit takes the last model for the one that is published: take evaluate.keep "
                "away, and audit the run that ends with it"
            )
        if not self.scenario.facts.algorithm.averages:
            raise ScenarioError(
                f"training.algorithm = {self.scenario.training.algorithm!r}: its updates are no "
                "plain changes of the model, which audits take them for; audit it with 'fedavg' or "
                "'fedprox'"
            )
        if self.scenario.attack is not None and self.target in self.scenario.attack.clients:
            raise ScenarioError(
                f"--target: client {self.target} is corrupt and trains on other records; "
                "take another"
            )
        vantage = self.vantage
        if vantage is not None:
            vantage.check()

    @property
    def threat(self) -> ThreatModel:
        """The threat model of the adversary."""
        return threat(self.adversary)

    @property
    def vantage(self) -> Vantage | None:
        """Where the adversary looks from in the scenario's topology; None with one server."""
        return _vantage(self.scenario, self.adversary, self.colluders, self.target)

    @property
    def coalition(self) -> tuple[int, ...]:
        """The clients on the adversary's side: with a server the first that are not the target."""
        vantage = self.vantage
        if vantage is not None:
            return vantage.coalition
        if not self.threat.clients:
            return ()
        others = [client for client in range(self.scenario.clients) if client != self.target]
        return tuple(others[: self.colluders])

    @property
    def blind(self) -> bool:
        """Whether the adversary sees no values at all, such as a server of ciphertexts."""
        kind = self.scenario.channel.kind
        return not self.threat.ends_with(kind) and not self.threat.opens(kind)

    @property
    def sees_updates(self) -> bool:
        """Whether the adversary sees an update, a sum of updates or a step."""
        return not self.blind and bool(self.parties)

    @property
    def parties(self) -> frozenset[str]:
        """The parties whose Observations the adversary has."""
        vantage = self.vantage
        return self.threat.parties(self.coalition) if vantage is None else vantage.parties

    @property
    def compares(self) -> bool:
        """Whether the adversary ends with a model that shadows can be compared with.

        Shadows end with the model of the run.
        """
        vantage = self.vantage
        is_the_runs = vantage is None or not vantage.own_model
        return is_the_runs and bool(self.threat.ends_with(self.scenario.channel.kind))

    @property
    def rehearsal(self) -> Scenario:
        """The scenario with the target's records drawn by coins."""
        return rehearsed(self.scenario, self.target, 2 * self.seed)

    @property
    def coordinates(self) -> int:
        """The number of coordinates of the scenario's model."""
        return self.scenario.facts.coordinates

    def watcher(self, data: FederatedData, client: int | None = None) -> Watching:
        """Returns a collector of everything that the adversary sees of one client.

        Args:
            data: the records that are played with.
            client: the target by default; none on the adversary's side.
        """
        scenario = self.scenario
        watched = self.target if client is None else client
        vantage = self.vantage
        if vantage is not None and self.sees_updates:
            return vantage.watch(watched)
        sizes = {client: len(site.train) for client, site in enumerate(data.sites)}
        reported = scenario.weights == "reported"
        weights = client_weights(scenario.facts, sizes, reported=reported)
        return Watcher(
            self.threat,
            self.coalition,
            watched,
            scenario.channel.kind,
            weights_in_step(weights, scenario.facts),
            weights_in_sum(weights, scenario.facts.max_weight),
        )

    def spent(self, played: Replay) -> Mapping[PrivacyEvent, int]:
        """Returns the events that the claim rests on: of the run, or of the replay without one."""
        return played.spent if self.booked is None else self.booked

    def claim(self, played: Replay) -> Claim | None:
        """Returns the claim that the target's ledger makes; None without one."""
        spent = self.spent(played)
        if self.scenario.privacy is None or not spent:
            return None
        delta = self.scenario.privacy.delta
        return Claim(spent, epsilon(spent, delta=delta), delta, privacy_profile(spent, delta=delta))

    def stream(self, purpose: str) -> Keystream:
        """Returns the audit's own coins and noise for one purpose, the same for any adversary."""
        return seeded_keystream(self.seed, f"audit {purpose}", self.target)


def _refuse(why_not: str) -> None:
    """Raises ScenarioError, unless there is nothing to say."""
    if why_not:
        raise ScenarioError(why_not)


def misfit(scenario: Scenario, adversary: str) -> str:
    """Returns why a scenario has no such adversary, in a sentence; "" where it has.

    Raises:
        ScenarioError: there is no adversary of this name anywhere.
    """
    kind = SERVER if scenario.topology is None else scenario.topology.kind
    if kind not in EVERYWHERE:
        return (
            f"no audit looks at topology = {kind!r}, where updates of one round may begin with "
            "different models: take the topology away"
        )
    if scenario.protects_clients:
        return (
            "audits look for single records, and privacy.unit = 'client' protects all of a client "
            f"at once: audit the scenario with privacy.unit = 'example' and {_of_records(scenario)}"
        )
    if scenario.data.fit is not None:
        return (
            f"no audit looks at data.harmonise with {scenario.data.fit.name}, which its shadows "
            "would have to fit again: take the step away"
        )
    if kind not in threat(adversary).fits:
        return (
            f"--adversary: with topology = {kind!r} nobody is {adversary!r}; use one of "
            f"{', '.join(adversaries_in(kind))}"
        )
    uncovered = sees_too_much(scenario, adversary)
    if uncovered:
        return uncovered
    vantage = _vantage(scenario, adversary)
    return "" if vantage is None else vantage.why_not


def _of_records(scenario: Scenario) -> str:
    """Returns the keys with which noise protects single records at the place of a scenario."""
    place = "local" if scenario.privacy is None else scenario.privacy.place
    kind = "dp_sgd" if place == "local" else "clipped_gradient"
    coins = ", without cohort.sampling" if scenario.tosses_coins else ""
    return f"training.kind = {kind!r}{coins}"


def _vantage(
    scenario: Scenario, adversary: str, colluders: int = 1, target: int = 0
) -> Vantage | None:
    topology = scenario.topology
    if topology is None or topology.kind not in EVERYWHERE:
        return None
    model = threat(adversary)
    return VANTAGES[topology.kind](Looking(scenario, topology, adversary, model, colluders, target))


def rehearsed(scenario: Scenario, target: int, seed: int, *, offset: int = 0) -> Scenario:
    """Returns the scenario with the target's records drawn by the coins of a seed.

    Args:
        scenario: without a rehearsal.
        target: the client whose records are drawn.
        seed: of the coins.
        offset: 0 keeps the federation's own seed; any other number gives it another.
    """
    own = (scenario.seed + offset * SEED_STRIDE) % 2**63
    rehearsal = {"client": target, "seed": seed}
    return make_scenario({**scenario.resolved(), "seed": own, "rehearsal": rehearsal})


def shadow_scenarios(inquiry: Inquiry, count: int) -> dict[int, Scenario]:
    """Returns seed -> rehearsal, for an adversary that knows how the federation trains.

    Their channel is plain: no channel changes what is trained, except by its rounding. Each has a
    seed of its own, since no adversary is supposed to know the federation's. An even count has
    every record in half of the shadows.
    """
    resolved = inquiry.scenario.resolved()
    # Without failures and a clock, nobody is late, and no more are invited than a round takes. But
    # the scanners of clients are part of their records.
    simulate = {"scanners": resolved["simulate"]["scanners"]}
    cohort = {"size": inquiry.scenario.cohort_size}
    simple = {"channel": {"kind": "plain"}, "simulate": simulate, "cohort": cohort}
    values = {**resolved, **simple}
    privacy = resolved["privacy"]
    if privacy is not None and privacy["place"] == "distributed":
        # Shares of noise add up in a masked channel only; central noise is as large as what counts.
        values["privacy"] = {**privacy, "place": "central"}
    plain = make_scenario(values)
    # Seeds 2 s and 2 s + 1 are the audited rehearsal and its complement: no shadow repeats them.
    first = 2 * inquiry.seed + 2
    return {
        first + index: rehearsed(plain, inquiry.target, first + index, offset=index + 1)
        for index in range(count)
    }
