"""DP-SGD watched from inside: a replay with probes, by the client that owns the code."""

from collections.abc import Sequence
from typing import NamedTuple

from securefl.audit.canaries import LOUDNESS
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.knowledge import Knowledge
from securefl.audit.lines import Line
from securefl.audit.mechanism import Inside, mechanism_lines, unseen
from securefl.audit.planting import with_canaries
from securefl.audit.replay import Replay, replay
from securefl.audit.threats import ANSWERS
from securefl.audit.watched import Probes
from securefl.channels.protocol import Seen
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data

NOT_ALONE = "this adversary does not see every update by itself; audit the client where it does"
MAX_COMPARED_CLIENTS = 3  # other clients whose noise is compared with the target's


class ProbeRun(NamedTuple):
    """A replay with probes in the target's training.

    Attributes:
        played: the replay; its knowledge is in the order of the adversaries that watched.
        own: probes of the target.
        others: client -> probes that watch it without adding anything.
    """

    played: Replay
    own: Probes
    others: dict[int, Probes]


def play_probes(
    inquiries: Sequence[Inquiry], *, on_round: OnRound, remember: Remember = fresh
) -> ProbeRun:
    """Plays the scenario with probes in the target's DP-SGD, and watches a few other clients.

    Args:
        inquiries: adversaries that watch, of one scenario, target and seed.
        on_round: called with the record of each round.
        remember: caches expensive results.

    Raises:
        ValueError: the model has too few coordinates for canaries.
    """
    inquiry = inquiries[0]
    scenario = inquiry.scenario
    clip, d = scenario.training.clip, inquiry.coordinates
    stream = inquiry.stream("probes")
    # Drawn from one stream in this order: the target's probes, the other clients, their probes.
    own = Probes(d, norm=LOUDNESS * clip, stream=stream)
    order = stream.permutation(scenario.clients).tolist()
    compared = [client for client in order if client != inquiry.target][:MAX_COMPARED_CLIENTS]
    others = {
        client: Probes(d, norm=clip, stream=stream, singles=0, dense=0) for client in compared
    }
    data = load_data(scenario)
    played = replay(
        scenario,
        [inquiry.watcher(data) for inquiry in inquiries],
        on_round=lambda record: on_round("from inside", record),
        remember=remember,
        change=lambda parts: with_canaries(parts, {inquiry.target: own, **others}),
    )
    return ProbeRun(played, own, others)


def why_unseen(inquiry: Inquiry) -> str:
    """Returns why this adversary cannot look at DP-SGD from inside; "" where it can."""
    if inquiry.threat.published == ANSWERS:
        return "an adversary that sees no update cannot say what left a client"
    if inquiry.scenario.init_from is not None:
        return "the run goes on from another, whose steps are not seen"
    vantage = inquiry.vantage
    if vantage is not None:
        return vantage.why_together if inquiry.sees_updates else NOT_ALONE
    return "" if _sees_updates_alone(inquiry) else NOT_ALONE


def _sees_updates_alone(inquiry: Inquiry) -> bool:
    """Whether the adversary can have updates of the target by themselves."""
    channel, clients = inquiry.scenario.channel.kind, inquiry.scenario.clients
    in_the_clear = Seen.CLEAR_UPDATE in inquiry.threat.sees(channel)
    return in_the_clear or inquiry.threat.opens(channel) or len(inquiry.coalition) == clients - 1


def inside_lines(inquiry: Inquiry, run: ProbeRun, knowledge: Knowledge) -> list[Line]:
    """Returns a line for each property of the mechanism.

    It is one line only where an update of the target was not seen by itself: the probes are
    compared with the update that leaves, and a sum would hide a difference.
    """
    evidence = run.own.evidence
    spent = inquiry.spent(run.played)
    if not spent or evidence is None:
        return unseen("nothing was booked")
    if [sight.alone for sight in knowledge.moves] != [True] * len(evidence.rounds):
        return unseen(NOT_ALONE)
    others = {
        client: probes.evidence
        for client, probes in run.others.items()
        if probes.evidence is not None
    }
    replayed = Inside(
        evidence,
        others,
        alone=inquiry.scenario.clients == 1,
        moved=[sight.moved for sight in knowledge.moves if sight.moved is not None],
        clip=inquiry.scenario.training.clip,
    )
    return mechanism_lines(replayed, spent)
