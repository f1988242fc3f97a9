"""The coordinator: it plays the rounds with sites that other processes speak for.

It has the model, the rule, the step and the run folder, and no record of any site.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Size

from securefl import vector
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.errors import BudgetExceeded, NoResult, RunFailed
from securefl.federation.record import interrupted
from securefl.federation.values import Federation, State
from securefl.runs.best import BestModel
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part
from securefl.runs.deployed.judging import Judging, metrics_of
from securefl.runs.deployed.rounds import Rounds
from securefl.runs.deployed.sessions import agreed_sessions
from securefl.runs.ending import end_run
from securefl.runs.play import kept_rounds
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import federation_of
from securefl.scenario.assemble.cohort import inviter
from securefl.scenario.assemble.public import ServerParts
from securefl.scenario.budget import allowed_trainings
from securefl.scenario.scenario import Scenario

_BY_ITSELF = "a site pays, trains and submits by itself, as its envelopes ask it to"


class RemoteSite:
    """A participant whose client is in another process; its ledger stays there.

    Args:
        site: its number.
        desk: carries what is said to it.
    """

    ledger_head = None

    def __init__(self, site: int, desk: Desk) -> None:
        self._site = site
        self._desk = desk

    def load(self, message: bytes) -> None:
        """Raises RunFailed: its envelopes carry the model."""
        raise RunFailed(_BY_ITSELF)

    def receive(self, request: bytes) -> bytes:
        """Raises RunFailed: its envelopes carry the requests."""
        raise RunFailed(_BY_ITSELF)

    def begin(self) -> None:
        """Raises RunFailed: the site begins when its request arrives."""
        raise RunFailed(_BY_ITSELF)

    def train(self) -> ClientUpdate:
        """Raises RunFailed: no update leaves the site except through its channel."""
        raise RunFailed(_BY_ITSELF)

    def submit(self, update: ClientUpdate) -> Packet:
        """Raises RunFailed: see `train`."""
        raise RunFailed(_BY_ITSELF)

    def confirm(self, round: int) -> None:
        """Sends the confirmation with the site's next envelope."""
        self._desk.enclose(self._site, Part(Kind.CONFIRM, round))


def coordinate(
    parts: ServerParts,
    desk: Desk,
    key: Ed25519PrivateKey,
    cell: Cell,
    stopped: Callable[[], bool] = lambda: False,
    waits: Callable[[int], None] = lambda abandoned: None,
) -> State:
    """Plays the remaining rounds, keeps them in the cell, and returns the last state.

    It returns the state of an earlier round if it is stopped.

    Args:
        parts: of the server.
        desk: carries the envelopes.
        key: the server's Ed25519 key.
        cell: keeps the rounds.
        stopped: asked after each round.
        waits: called after a round that was abandoned, with how many there were in a row.

    Raises:
        BudgetExceeded: too few sites may still spend; the last good model is kept.
        RoundAbandoned: the set-up lost too many sites.
        NoResult: all rounds were abandoned, or the charter allows no further one.
        RunFailed: no site remains.
    """
    given = desk.numbers.given
    parts = replace(parts, session_number=given.session)
    shapes = vector.shapes(parts.model)
    rounds = parts.scenario.rounds
    state = cell.last_good(State(vector.to_vector(parts.model)), shapes)
    best = BestModel(cell.best, shapes) if parts.scenario.keeps_best else None
    ended = partial(_ended, cell, best, shapes)
    status = cell.status()
    if status.state is CellState.OUT_OF_BUDGET:
        # Perhaps killed while the sites judged the last model, which they do once.
        ended(state, CellState.OUT_OF_BUDGET, status.reason or "")
        raise BudgetExceeded(status.reason)
    state = _without_interrupted(parts, state, given.trained, cell)
    # The last model is judged once: not again if a site may have judged it before a crash.
    if state.round < rounds or (parts.scenario.leave != "never" and given.trained < rounds):
        federation, played_by = _joined(parts, desk, key, cell, best)
        play = played_by.play
        played_rounds = kept_rounds(
            cell, federation, state, rounds=rounds, shapes=shapes, play=play
        )
        abandoned = 0
        try:
            for played in played_rounds:
                state = played.state
                abandoned = abandoned + 1 if played.record.abandoned else 0
                if abandoned and state.round < rounds:
                    waits(abandoned)
                if state.round < rounds and stopped():
                    return state
        except BudgetExceeded as reason:
            # On disk before the sites judge: this is the end, also for a coordinator killed there.
            cell.finish(CellState.OUT_OF_BUDGET, reason=str(reason))
            with suppress(NoResult):  # the charter's numbers are used up
                cell.note_seen(state.round - 1, played_by.judge_last(federation, state))
            ended(state, CellState.OUT_OF_BUDGET, str(reason))
            raise
        _require_a_result(cell, rounds)
        cell.note_seen(state.round - 1, played_by.judge_last(federation, state))
    _require_a_result(cell, rounds)
    return ended(state, CellState.DONE)


def _ended(
    cell: Cell,
    best: BestModel | None,
    shapes: Mapping[str, Size],
    state: State,
    outcome: CellState,
    reason: str = "",
) -> State:
    """Ends the run with its last state, or with the best model; returns what it ends with."""
    if best is not None:
        state = best.chosen(state)
    metrics = metrics_of(cell.folder, cell.rounds(), best)
    end_run(cell, state, shapes, outcome=outcome, metrics=metrics, reason=reason)
    return state


def _joined(
    parts: ServerParts, desk: Desk, key: Ed25519PrivateKey, cell: Cell, best: BestModel | None
) -> tuple[Federation, Rounds]:
    """Begins a session with the sites; returns the federation and its rounds."""
    sessions = agreed_sessions(parts, desk, key)
    updates, counts = sessions[0], sessions.get(COUNTS_LANE)
    judging = None if counts is None else Judging(parts.scenario, counts, cell.folder, best)
    federation = federation_of(
        parts,
        {site: RemoteSite(site, desk) for site in updates.sites},
        # Not begun: each round has a server's side of its own.
        updates.server(),
        layout=vector.layout(parts.model),
        ahead=1,
    )
    apart = catalog.APART[parts.scenario.channel.kind]
    rounds = parts.scenario.rounds
    played_by = Rounds(
        desk,
        updates.server,
        opening=apart.opening,
        rounds=rounds,
        judging=judging,
        is_spent=partial(_is_spent, parts.scenario),
    )
    return federation, played_by


def _is_spent(scenario: Scenario, site: int, round: int) -> bool:
    """Whether the declared constants leave a site no budget for the training of a round.

    Each number of a round is trained once at most, so that a site has paid for no more trainings
    than there are smaller numbers.
    """
    return round >= allowed_trainings(scenario, site)


def _require_a_result(cell: Cell, rounds: int) -> None:
    """Raises NoResult: all rounds were abandoned."""
    if all(record.abandoned for record in cell.rounds()):
        raise NoResult(f"all {rounds} rounds were abandoned; the model is the initial one")


def _without_interrupted(parts: ServerParts, state: State, trained: int, cell: Cell) -> State:
    """Records rounds that sites trained in and that have no result; returns the state after them.

    A site may have paid for such a round, and its update may have left, so that it is not repeated.
    A round that was only begun is played again: no site has trained in it.
    """
    shapes = vector.shapes(parts.model)
    invite = inviter(parts.scenario, tuple(range(parts.scenario.clients)))
    while state.round <= min(trained, parts.scenario.rounds - 1):
        record = interrupted(state.round, invite(state.round))
        state = replace(state, round=state.round + 1)
        cell.keep(state, record, shapes)
    return state
