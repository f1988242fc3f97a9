"""DP-SGD watched from inside: a replay with probes, by the client that owns the code."""

from typing import NamedTuple

from securefl.audit.canaries import LOUDNESS, with_canaries
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.measure import coordinates
from securefl.audit.mechanism import Inside, mechanism_lines, unseen
from securefl.audit.replay import Replay, replay
from securefl.audit.threats import ANSWERS
from securefl.audit.verdicts import Line
from securefl.audit.watched import Probes
from securefl.channels.protocol import Seen
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data

NOT_ALONE = "this adversary does not see every update by itself; audit the client where it does"
_COMPARED = 3  # other clients at most whose noise is compared with the target's


class Watched(NamedTuple):
    """A replay with probes, and what they saw of the target's steps and of other clients'.

    Attributes:
        played: the replay.
        own: of the client that is looked at.
        others: client -> what watched it without adding anything.
    """

    played: Replay
    own: Probes
    others: dict[int, Probes]


def watch(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> Watched:
    """Plays the scenario with probes in the target's DP-SGD; a few other clients are watched as well.

    Raises:
        ValueError: the model has too few coordinates for canaries.
    """
    scenario, clip = inquiry.scenario, inquiry.scenario.training.clip
    d, stream = coordinates(scenario), inquiry.stream("probes")
    own = Probes(d, norm=LOUDNESS * clip, stream=stream)
    order = stream.permutation(scenario.clients).tolist()
    compared = [client for client in order if client != inquiry.target][:_COMPARED]
    others = {client: Probes(d, norm=clip, stream=stream, ones=0, groups=0) for client in compared}
    played = replay(
        scenario,
        [inquiry.watcher(load_data(scenario))],
        on_round=lambda record: on_round("from inside", record),
        remember=remember,
        change=lambda parts: with_canaries(parts, {inquiry.target: own, **others}),
    )
    return Watched(played, own, others)


def inside_lines(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> list[Line]:
    """Returns the verdicts on the mechanism itself; none without a claim."""
    if not inquiry.scenario.claims_dp:
        return []
    if inquiry.threat.published == ANSWERS:
        return unseen("who sees no update cannot say what left a client")
    if inquiry.scenario.init_from is not None:
        return unseen("the run goes on from another, whose steps are not seen")
    if not _sees_updates(inquiry):
        return unseen(NOT_ALONE)
    try:
        watched = watch(inquiry, on_round=on_round, remember=remember)
    except ValueError as reason:
        return unseen(str(reason))
    return lines_of(inquiry, watched)


def _sees_updates(inquiry: Inquiry) -> bool:
    """Whether the adversary can have updates of the target by themselves."""
    channel, clients = inquiry.scenario.channel.kind, inquiry.scenario.clients
    in_the_clear = Seen.CLEAR_UPDATE in inquiry.threat.sees(channel)
    return in_the_clear or inquiry.threat.opens(channel) or len(inquiry.coalition) == clients - 1


def lines_of(inquiry: Inquiry, watched: Watched) -> list[Line]:
    """Returns the verdicts on a replay; one line where an update of the target was not seen by itself."""
    moves, evidence = watched.played.knowledge[0].moves, watched.own.evidence
    spent = inquiry.spent(watched.played)
    if not spent or evidence is None:
        return unseen("nothing was booked")
    if [sight.alone for sight in moves] != [True] * len(evidence.rounds):
        return unseen(NOT_ALONE)
    seen = Inside(
        evidence,
        {
            client: other.evidence
            for client, other in watched.others.items()
            if other.evidence is not None
        },
        alone=inquiry.scenario.clients == 1,
        moved=[sight.moved for sight in moves if sight.moved is not None],
        clip=inquiry.scenario.training.clip,
    )
    return mechanism_lines(seen, spent)
