"""A site's policy: the bounds that no charter and no coordinator can move.

    policy = load_policy(site / "policy.toml")
    policy.check(proposal)  # PolicyRefused, with every violation as a sentence

The defaults are strict. The file belongs to the site, and nothing sends it anywhere.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from securefl.errors import PolicyRefused, ScenarioError
from securefl.federation.proposal import Leave, Proposal
from securefl.files import parse_toml, read_text
from securefl.messages import sentences

Channel = Literal["plain", "masked"]  # those that run between sites
NoisePlace = Literal["local", "distributed"]  # those that run between sites
_STRICTEST_FIRST: tuple[Leave, ...] = ("never", "noisy", "sums")

_Count = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
_Texts = tuple[Annotated[str, Field(min_length=1, strict=True)], ...]


class _Table(BaseModel):
    """A table of the policy; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Table):
    """The most that all federations together may learn from one data set.

    epsilon and delta bound all trainings ever made on it; epsilon = inf allows training without
    noise. test_epsilon bounds all noisy figures on test records, each at a delta up to this one.

    places lists where noise may be added, and so whom epsilon bounds. Noise of the site's own
    ("local") holds against everybody. Noise in shares ("distributed") holds against the coordinator
    together with as many other sites as channel.corrupt of the charter, and not against more. The
    places of earlier federations have to be listed, too, and to withstand channel.corrupt of the
    policy: the total holds against no more than each of them does.
    """

    epsilon: Annotated[float, Field(gt=0, strict=True)] = 8.0
    delta: Annotated[float, Field(ge=1e-14, lt=1, strict=True)] = 1e-5
    test_epsilon: Annotated[float, Field(ge=0, strict=True)] = 0.0
    places: Annotated[tuple[NoisePlace, ...], Field(min_length=1)] = ("local",)


class ChannelRules(_Table):
    """The channels that updates may take, and the least that masks must withstand.

    min_cohort is the fewest updates in one sum, corrupt the sites in it that may work with the
    coordinator, reveal_counts whether it may see this site's number of records. All three count on
    the channel masked only.
    """

    allowed: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("masked",)
    min_cohort: _Count = 4
    corrupt: _Count = 1
    reveal_counts: Annotated[bool, Field(strict=True)] = False


class CodeRules(_Table):
    """The code and the layouts of models that may run here; the first approval writes them."""

    allowed: _Texts = ()
    layouts: _Texts = ()


class RoundRules(_Table):
    """How many trainings may begin within 24 hours."""

    a_day: _Count = 100


class EvaluationRules(_Table):
    """What may leave about test and validation records: never, noisy or sums."""

    leave: Leave = "never"


class Policy(_Table):
    """All tables of a policy."""

    budget: Budget = Budget()
    channel: ChannelRules = ChannelRules()
    code: CodeRules = CodeRules()
    rounds: RoundRules = RoundRules()
    evaluation: EvaluationRules = EvaluationRules()

    def check(self, proposal: Proposal, *, pins: bool = False) -> None:
        """Refuses a proposal that goes beyond a bound.

        Args:
            proposal: what the charter asks.
            pins: whether empty lists of code and layouts allow what comes first, because the
                caller writes it into them.

        Raises:
            PolicyRefused: with a sentence for each violation, one a line.
        """
        violations = [
            *self._about_budget(proposal),
            *self._about_places(proposal),
            *self._about_channel(proposal),
            *self._about_code(proposal, pins),
            *self._about_rounds(proposal),
            *self._about_evaluation(proposal),
        ]
        if violations:
            raise PolicyRefused("\n".join(violations))

    def _about_budget(self, proposal: Proposal) -> list[str]:
        budget = self.budget
        violations = []
        if proposal.epsilon > budget.epsilon:
            asked = "no claim" if math.isinf(proposal.epsilon) else f"epsilon {proposal.epsilon:g}"
            violations.append(f"budget.epsilon = {budget.epsilon:g} does not allow {asked}")
        elif math.isinf(proposal.total_epsilon) and not math.isinf(budget.epsilon):
            violations.append(
                f"budget.epsilon = {budget.epsilon:g} bounds all federations on the data set "
                "together, and an earlier one claimed no epsilon, so that nothing bounds their "
                "total: set budget.epsilon = inf, or give no further updates"
            )
        elif not proposal.total_epsilon <= budget.epsilon:  # a NaN is no promise
            violations.append(
                f"budget.epsilon = {budget.epsilon:g} does not allow epsilon "
                f"{proposal.total_epsilon:.4g}, which this federation and all earlier ones on the "
                "data set cost together"
            )
        # Without a bound on epsilon, delta bounds nothing either.
        if proposal.delta > budget.delta and not math.isinf(budget.epsilon):
            violations.append(
                f"budget.delta = {budget.delta:g} does not allow delta {proposal.delta:g}"
            )
        return violations

    def _about_places(self, proposal: Proposal) -> list[str]:
        places = self.budget.places
        if math.isinf(self.budget.epsilon):
            return []  # what bounds nothing holds against nobody
        if proposal.place.name not in places:
            return [
                f"budget.places does not list {proposal.place.name!r}: such an epsilon does not "
                f"hold against the coordinator together with more than {proposal.place.corrupt} of "
                "the other sites"
            ]
        # The budget adds all federations up, and the sum bounds no more than each of them does.
        earlier = [place for place in proposal.earlier if place != proposal.place]
        for place in earlier:
            if place.name not in places:
                return [
                    f"budget.places does not list {place.name!r}, and an earlier federation on the "
                    "data set had such noise: their total does not hold against the coordinator "
                    f"together with more than {place.corrupt} of the other sites"
                ]
            if place.name == "distributed" and place.corrupt < self.channel.corrupt:
                return [
                    f"channel.corrupt = {self.channel.corrupt} does not allow noise that "
                    f"withstands {place.corrupt} corrupt site(s), and an earlier federation on the "
                    "data set had such noise: their total holds against no more"
                ]
        return []

    def _about_channel(self, proposal: Proposal) -> list[str]:
        rules = self.channel
        if proposal.channel not in rules.allowed:
            allowed = ", ".join(rules.allowed)
            return [
                f"channel.allowed does not list {proposal.channel!r}, only {allowed}: "
                "there the coordinator sees more"
            ]
        # No masks, no threshold: whoever lists such a channel accepts that.
        if proposal.corrupt is None:
            return []
        violations = []
        if proposal.min_cohort < rules.min_cohort:
            violations.append(
                f"channel.min_cohort = {rules.min_cohort} does not allow sums of "
                f"{proposal.min_cohort} updates: lower it in this policy, or ask for a new charter"
            )
        if proposal.corrupt < rules.corrupt:
            violations.append(
                f"channel.corrupt = {rules.corrupt} does not allow masks that withstand "
                f"{proposal.corrupt} corrupt sites"
            )
        if proposal.reveals_counts and not rules.reveal_counts:
            violations.append("channel.reveal_counts = false does not allow weights = 'reported'")
        return violations

    def _about_code(self, proposal: Proposal, pins: bool) -> list[str]:
        return [
            f"code.{key} does not list {value}; compare it with the coordinator's administrator "
            "before you add it"
            for key, listed, value in (
                ("allowed", self.code.allowed, proposal.code),
                ("layouts", self.code.layouts, proposal.layout),
            )
            if value not in listed and (listed or not pins)
        ]

    def _about_rounds(self, proposal: Proposal) -> list[str]:
        a_day = self.rounds.a_day
        # A charter that ends within a day may still use the whole day's rounds.
        most = a_day * max(1, math.floor(proposal.days))
        if proposal.rounds <= most:
            return []
        return [
            f"rounds.a_day = {a_day} allows {most} rounds until the charter ends, "
            f"it has {proposal.rounds}"
        ]

    def _about_evaluation(self, proposal: Proposal) -> list[str]:
        leave, allowed = proposal.evaluation, self.evaluation.leave
        order = _STRICTEST_FIRST
        if order.index(leave) > order.index(allowed):
            return [f"evaluation.leave = {allowed!r} does not allow {leave!r}"]
        if leave != "noisy":
            return []
        budget = self.budget
        violations = []
        if proposal.test_epsilon > budget.test_epsilon:
            violations.append(
                f"budget.test_epsilon = {budget.test_epsilon:g} does not allow figures that cost "
                f"{proposal.test_epsilon:g} together with all earlier ones"
            )
        if proposal.test_delta > budget.delta and not math.isinf(budget.test_epsilon):
            violations.append(
                f"budget.delta = {budget.delta:g} does not allow figures with delta "
                f"{proposal.test_delta:g}"
            )
        return violations


def load_policy(path: Path) -> Policy:
    """Returns the policy in a file. Raises ScenarioError: it cannot be read or is wrong."""
    return parse_policy(read_text(path), str(path))


def parse_policy(text: str, source: str = "the policy") -> Policy:
    """Returns the policy in TOML text; refusals name the source.

    Raises:
        ScenarioError: the text is not TOML, or has an unknown key or a wrong value.
    """
    try:
        return Policy(**parse_toml(text, source))
    except ValidationError as reason:
        raise ScenarioError(f"{source}: {sentences(reason, Policy, source)}") from None
