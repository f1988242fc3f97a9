"""What updates show of the records behind them: who looks, at which update, and what was found beside guessing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

import attacks
from securefl.audit.knowledge import Knowledge
from securefl.audit.leakage import Inquiry, OnRound
from securefl.audit.replay import replay
from securefl.data.task import Examples, FederatedData, Task, concatenate
from securefl.learning.dp_sgd import DpPlan
from securefl.privacy.ledger import NOTHING
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble import plan_for
from securefl.scenario.making.adversary import poisoned
from securefl.scenario.records import load_data

ROUNDS = 5  # that are looked at
NO_EVIDENCE = (
    "what an attack does not find here is no evidence for an epsilon: another attack may find it"
)
_KNOWN = 1000  # records of the attacker's own


MIN_GAIN_DB = 3.0  # a reconstruction that is no better than this over a guess is no finding


@dataclass(frozen=True)
class Pictures:
    """Records (n, *shape) as the model reads them, and for each the nearest of what an attack took for them."""

    truth: Tensor
    found: Tensor


@dataclass(frozen=True)
class Exposure:
    """What one attack found of the records, labels, property or source of updates.

    Attributes:
        attack: its name.
        why: what was measured, or what was missing.
        unit: "dB" for a median PSNR, "share" for an accuracy.
        measured: the attack's score; None where it was not measured.
        guessing: the same score for an attacker who saw no update.
        pictures: records and their reconstructions, where they are images.
        error: standard error of the difference between the two scores; None for a single trial.
    """

    attack: str
    why: str
    unit: str = ""
    measured: float | None = None
    guessing: float | None = None
    pictures: Pictures | None = None
    error: float | None = None

    @property
    def is_finding(self) -> bool:
        """Whether the attack is better than guessing by more than two standard errors, and by 3 dB for records."""
        if self.measured is None or self.guessing is None:
            return False
        margin = MIN_GAIN_DB if self.unit == "dB" else 0.0
        return self.measured - self.guessing > max(margin, 2 * (self.error or 0.0))


@dataclass(frozen=True)
class Look:
    """The first rounds, seen by an adversary, with records of its own that nobody trained on.

    data: what clients trained on, corrupt ones too. model: a workspace. plans: client -> its DP-SGD, where there is
    any. knowledge: client -> what the adversary learned of it, of those that are not on its side.
    """

    inquiry: Inquiry
    data: FederatedData
    model: nn.Module
    known: Examples
    plans: Mapping[int, DpPlan]
    knowledge: Mapping[int, Knowledge]

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.data.task

    @property
    def update(self) -> "Update | None":
        """The first that is seen of the target with the global model it started from; None where nothing is."""
        for sight in self.knowledge[self.inquiry.target].moves:
            if sight.model is not None and sight.moved is not None:
                return Update(sight.round, sight.model, sight.moved, sight.alone, sight.counts)
        return None

    def behind(self, clients: Iterable[int]) -> Examples:
        """The records that these clients trained on."""
        return concatenate([self.data.sites[client].train for client in clients])

    def steps(self, client: int) -> int:
        """How many local steps a client takes in a round."""
        training, plan = self.inquiry.scenario.training, self.plans.get(client)
        records = len(self.data.sites[client].train)
        local = attacks.LocalSteps(training.lr, training.batch, training.epochs)
        return local.count(records) if plan is None else plan.steps


class Update(NamedTuple):
    """The target's update, or a sum or step that it is part of, as a Sight has it."""

    round: int
    model: Tensor
    moved: Tensor
    alone: bool
    counts: Mapping[int, float] | None


def look_at(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> Look:
    """Play the first rounds of the scenario itself, every client that is not on the adversary's side watched."""
    scenario = inquiry.scenario
    clients = [client for client in range(scenario.clients) if client not in inquiry.coalition]
    clients.sort(key=lambda client: client != inquiry.target)
    data = load_data(scenario)
    played = replay(
        scenario,
        [inquiry.watcher(data, client) for client in clients],
        on_round=lambda record: on_round("updates", record),
        remember=remember,
        rounds=min(ROUNDS, scenario.rounds),
    )
    order = torch.from_numpy(inquiry.stream("known").permutation(len(data.test)))[:_KNOWN]
    books = played.assembled.ledgers
    return Look(
        inquiry,
        poisoned(scenario, data),
        played.assembled.model,
        Examples(data.test.features[order], data.test.labels[order]),
        {
            client: plan_for(
                scenario, client, remember, books[client].before if client in books else NOTHING
            )
            for client in range(scenario.clients)
            if scenario.training.kind == "dp_sgd"
        },
        dict(zip(clients, played.knowledge, strict=True)),
    )


def told_exposures(found: Sequence[Exposure]) -> list[str]:
    """A table of what was found beside guessing, then what each line says."""
    rows = [
        ("what updates show", "measured", "by guessing", "finding"),
        *((*_row(one), _marked(one)) for one in found),
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    table = [
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*table, *(f"{one.attack}: {one.why}" for one in found), NO_EVIDENCE]


def exposure_facts(found: Exposure) -> dict[str, object]:
    """For JSON; without pictures."""
    return {
        "attack": found.attack,
        "unit": found.unit,
        "measured": found.measured,
        "guessing": found.guessing,
        "why": found.why,
        "error": found.error,
        "finding": found.is_finding,
        "told": list(_row(found)[1:]),
    }


def headline(found: Exposure) -> str:
    """One finding in a few words, such as "source: 33 %, by guessing 10 %"."""
    attack, measured, guessing = _row(found)
    return f"{attack}: {measured}, by guessing {guessing}"


def _marked(found: Exposure) -> str:
    if found.measured is None:
        return ""
    return "yes" if found.is_finding else "no"


def _row(found: Exposure) -> tuple[str, str, str]:
    if found.measured is None or found.guessing is None:
        return found.attack, "not measured", ""
    if found.unit == "dB":
        return found.attack, f"{found.measured:.1f} dB", f"{found.guessing:.1f} dB"
    return found.attack, f"{found.measured:.0%}", f"{found.guessing:.0%}"
