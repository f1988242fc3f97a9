"""Replays that the adversaries of an audit share: each is played once, when first needed."""

from collections.abc import Sequence
from functools import cached_property, partial

from securefl.audit.exposure.look import Look, looks_at
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.inside import ProbeRun, play_probes
from securefl.audit.knowledge import Knowledge
from securefl.audit.measure import CanaryRun, play_canaries
from securefl.audit.replay import Replay, replay
from securefl.privacy.remember import Remember
from securefl.scenario.assemble.data import load_data


class Replays:
    """The replays of one audit.

    All adversaries watch every replay, each seeing what its party sees. A table of all parties
    costs as many trainings as the audit of one of them.

    Args:
        inquiries: adversaries that look at one target of one scenario, by the same coins.
        of_run: whether a run is audited, which is played as it was; a scenario is rehearsed.
        on_round: called with a label and the record of each round.
        remember: caches expensive results.
    """

    def __init__(
        self,
        inquiries: Sequence[Inquiry],
        *,
        of_run: bool,
        on_round: OnRound,
        remember: Remember,
    ) -> None:
        self.on_round = on_round
        self.remember = remember
        self._inquiries = inquiries
        self._of_run = of_run

    def knowledge(self, inquiry: Inquiry, played: Replay) -> Knowledge:
        """Returns what one of the adversaries learned in a replay."""
        return played.knowledge[self._inquiries.index(inquiry)]

    @cached_property
    def membership(self) -> Replay:
        """The replay of the run, or a rehearsal of the scenario."""
        first = self._inquiries[0]
        scenario = first.scenario if self._of_run else first.rehearsal
        label = "replay" if self._of_run else "rehearsal"
        data = load_data(scenario)
        return replay(
            scenario,
            [inquiry.watcher(data) for inquiry in self._inquiries],
            on_round=partial(self.on_round, label),
            remember=self.remember,
        )

    @cached_property
    def canaries(self) -> CanaryRun:
        """The replay with gradient canaries. Raises ValueError where the model is too small."""
        return play_canaries(self._inquiries, on_round=self.on_round, remember=self.remember)

    @cached_property
    def probes(self) -> ProbeRun:
        """The replay with probes. Raises ValueError where the model is too small."""
        return play_probes(self._inquiries, on_round=self.on_round, remember=self.remember)

    @cached_property
    def looks(self) -> list[Look]:
        """The first rounds, seen by each adversary that sees updates."""
        seeing = [inquiry for inquiry in self._inquiries if inquiry.sees_updates]
        return looks_at(seeing, on_round=self.on_round, remember=self.remember)

    def look(self, inquiry: Inquiry) -> Look:
        """Returns the first rounds as one adversary sees them."""
        (look,) = [look for look in self.looks if look.inquiry == inquiry]
        return look
