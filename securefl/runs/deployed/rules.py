"""What a site's policy and charter allow at this moment, asked before each envelope and training.

Nothing here depends on a record: only on constants, the clock and the site's own log.
"""

import datetime
import math
import time
from collections.abc import Callable
from dataclasses import replace

from securefl.errors import PolicyRefused
from securefl.federation.policy import Policy
from securefl.federation.proposal import Proposal
from securefl.privacy.data_set import DataSetLedger
from securefl.privacy.events import ReleaseId
from securefl.privacy.terms import LOCAL
from securefl.runs.deployed.audit_log import SECONDS_A_DAY, AuditLog, Event
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.documents import moment_of
from securefl.scenario.assemble.evaluation import judged_models
from securefl.scenario.assemble.ledgers import place_of
from securefl.scenario.scenario import Scenario


class Rules:
    """The bounds of one site under one charter.

    Args:
        policy: of the site.
        charter: that the site approved.
        log: counts the trainings, also those before a restart.
        clock: seconds since 1970, UTC.
        figures_spent: returns the epsilon of all noisy figures that other federations got so far.
        books: number of the site, and the open ledger of its data set; None without one.
    """

    def __init__(
        self,
        policy: Policy,
        charter: Charter,
        log: AuditLog,
        clock: Callable[[], float] = time.time,
        *,
        figures_spent: Callable[[], float] = lambda: 0.0,
        books: tuple[int, DataSetLedger] | None = None,
    ) -> None:
        self._books = books
        self._figures_spent = figures_spent
        self._policy = policy
        self._charter = charter
        self._digest = charter.digest.hex()
        scenario = charter.scenario()
        self._judged = frozenset(judged_models(scenario))
        self._proposal = proposal_of(charter, scenario)
        self._log = log
        self._clock = clock

    def check(self) -> None:
        """Checks that the site may act at all.

        Raises:
            RunFailed: the charter is not valid now.
            PolicyRefused: the policy was tightened since the approval, and no longer allows what
                the charter asks; or another federation has added noise to releases of the data set
                since, in a place that the policy does not allow.
        """
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        self._charter.check_clock(now)
        self._check_policy()

    def _check_policy(self) -> None:
        """Checks what the charter asks, next to what is in the ledger by now."""
        earlier = () if self._books is None else self._books[1].places
        self._policy.check(replace(self._proposal, earlier=earlier))

    def permit(self, round: int) -> None:
        """Permits one training, and writes that it begins.

        A training with a claim is paid by the client, one without a claim is booked here.

        Raises:
            PolicyRefused: it would be one too many, or the round was trained before; or the policy
                does not allow it next to what is in the ledger.
            OSError: the log or the ledger cannot be written.
        """
        self._check_policy()
        under_charter = self._log.trainings(charter=self._digest)
        if round in under_charter:
            raise PolicyRefused(f"round {round} was trained before, and is not trained again")
        if not 0 <= round < self._charter.numbers:
            raise PolicyRefused(f"the charter has {self._charter.numbers} numbers, not {round}")
        if len(under_charter) >= self._charter.rounds:
            raise PolicyRefused(f"the charter allows {self._charter.rounds} trainings")
        a_day = self._policy.rounds.a_day
        if len(self._log.trainings(since=self._clock() - SECONDS_A_DAY)) >= a_day:
            raise PolicyRefused(f"rounds.a_day = {a_day} does not allow another training today")
        if self._books is not None and math.isinf(self._proposal.epsilon):
            site, ledger = self._books
            ledger.reserve_unclaimed(ReleaseId(self._charter.run, site, round, 0))
        self._log.note(Event.TRAINING, charter=self._digest, round=round)

    def permit_counting(self, round: int) -> None:
        """Permits to judge one model, and writes that it begins.

        A second sum about the same records, over other sites or of another model, would tell the
        difference, also one of a later epoch.

        Raises:
            PolicyRefused: the charter lets nobody judge this model, or it was judged before; or
                figures that other federations got since the approval leave no budget.
            OSError: the log cannot be written.
        """
        if round not in self._judged:
            raise PolicyRefused(f"the model of round {round} is not one that sites judge")
        if round in self._log.judgings(self._charter.run):
            raise PolicyRefused(f"the model of round {round} was judged before")
        self._check_figures()
        self._log.note(Event.JUDGING, charter=self._digest, run=self._charter.run, round=round)

    def _check_figures(self) -> None:
        """Checks that noisy figures fit the budget, with those that other federations got."""
        if self._proposal.evaluation != "noisy":
            return
        total = self._proposal.test_epsilon + self._figures_spent()
        allowed = self._policy.budget.test_epsilon
        if total > allowed:
            raise PolicyRefused(
                f"budget.test_epsilon = {allowed:g} does not allow figures that cost {total:g} "
                "together with those of other federations"
            )


def proposal_of(charter: Charter, scenario: Scenario) -> Proposal:
    """Returns what a charter asks by its constants alone.

    What is counted one by one is not in it: trainings, and the spending of earlier federations.
    """
    privacy = scenario.privacy
    epsilon, delta, place, n_min = math.inf, 0.0, LOCAL, None
    if privacy is not None and scenario.claims_dp:
        epsilon, delta = privacy.epsilon, privacy.delta
        place, n_min = place_of(scenario), scenario.facts.n_min
    return Proposal(
        epsilon=epsilon,
        delta=delta,
        total_epsilon=epsilon,
        channel=scenario.channel.kind,
        min_cohort=scenario.facts.min_cohort,
        corrupt=scenario.facts.channel_options.get("corrupt"),
        code=charter.code,
        layout=charter.layout,
        rounds=0,
        days=_days(charter),
        evaluation=scenario.leave,
        test_epsilon=scenario.test_epsilon,
        test_delta=0.0 if scenario.evaluate is None else scenario.evaluate.price[1],
        reveals_counts=scenario.weights == "reported",
        place=place,
        n_min=n_min,
    )


def _days(charter: Charter) -> float:
    valid = moment_of(charter.valid_until) - moment_of(charter.valid_from)
    return valid.total_seconds() / SECONDS_A_DAY
