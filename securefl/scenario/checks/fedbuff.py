"""Whether a server without lockstep has all it needs, and nothing that it cannot do."""

from securefl.channels.messages import MAX_ROUND
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.attack import try_rows
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.topology_table import Topology


def check_fedbuff(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks a scenario whose server steps whenever its buffer is full. Raises ScenarioError."""
    _check_numbers(declared, topology, facts)
    _check_lockstep(declared, topology, facts)
    prefix = f"topology.kind = {topology.kind!r}: "
    if not facts.channel.shows_every_update:
        raise ScenarioError(
            f"{prefix}channel.kind = {declared.channel.kind!r} sums updates of one model, and a "
            "buffer holds updates of several; use 'plain'"
        )
    if facts.min_cohort > 1:
        raise ScenarioError(
            f"{prefix}channel.min_cohort has no effect, as topology.buffer updates make a step; "
            "remove it"
        )
    if declared.weights == "reported":
        raise ScenarioError(
            f"{prefix}weights = 'reported' could change from one update of a client to the next; "
            "use 'equal' or 'declared'"
        )
    _check_attack(declared, topology, facts)


def _check_attack(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Lets an attack have as many rows of a buffer as fast corrupt clients may give."""
    attack = declared.attack
    if attack is None:
        return
    most = min(len(attack.clients) * facts.trainings, facts.rows)
    try:
        try_rows(declared, attack, facts, most)
    except ScenarioError as reason:
        raise ScenarioError(
            f"topology.kind = {topology.kind!r}: corrupt clients that are fast may give {most} of "
            f"the {facts.rows} rows of a buffer, for which attack.name = {attack.name!r} is not "
            f"defined ({reason}); set the attack's parameters, or use another one"
        ) from None


def _check_numbers(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks the table itself."""
    for key in ("buffer", "concurrency", "max_updates"):
        if getattr(topology, key) is None:
            raise ScenarioError(f"topology.kind = {topology.kind!r} needs topology.{key}")
    buffer, concurrency = topology.buffer or 0, topology.concurrency or 0
    if buffer > concurrency:
        raise ScenarioError(
            f"topology.buffer = {buffer} is above the {concurrency} clients that train at any time "
            "(topology.concurrency); lower it"
        )
    if concurrency > facts.clients:
        raise ScenarioError(
            f"topology.concurrency = {concurrency} is above the {facts.clients} clients; lower it"
        )
    updates, most = declared.rounds * buffer, facts.clients * (topology.max_updates or 0)
    if most < updates:
        raise ScenarioError(
            f"topology.max_updates = {topology.max_updates} lets {facts.clients} clients give "
            f"{most} updates, and {declared.rounds} rounds of {buffer} need {updates}; raise it"
        )
    # Half of them stay free, for trainings that a kill or a failure has lost.
    if updates + concurrency > MAX_ROUND // 2:
        raise ScenarioError(
            f"topology.buffer: {declared.rounds} rounds of {buffer} updates are more than messages "
            f"can number, {MAX_ROUND // 2}; lower it, or rounds"
        )


def _check_lockstep(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Refuses what belongs to rounds in which all train one model."""
    prefix = f"topology.kind = {topology.kind!r}: "
    if declared.cohort is not None:
        raise ScenarioError(
            f"{prefix}no round invites a cohort; remove the table [cohort], and set "
            "topology.concurrency"
        )
    for key in ("drop", "late"):
        if getattr(declared.simulate, key):
            raise ScenarioError(
                f"{prefix}simulate.{key} names rounds, and clients train across rounds; remove it"
            )
    if facts.schedule is not catalog.SCHEDULES[catalog.DEFAULT_SCHEDULE]:
        raise ScenarioError(
            f"{prefix}training.schedule = {declared.training.schedule!r} goes by rounds, and "
            "clients train across rounds; remove it"
        )
    if declared.engine is not None and declared.engine.stack not in (None, "off"):
        raise ScenarioError(
            f"{prefix}engine.stack has no effect, as clients begin at different times; remove it"
        )
