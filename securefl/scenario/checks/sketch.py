"""Whether a channel can choose the clients of its sum by sketches of their updates."""

from collections import Counter
from collections.abc import Iterator

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import corrupt_rows
from securefl.scenario.sketches import goes_on, needed_clients, numbers_of

MAX_CLIENTS = 64  # in one sum
RING = 32  # bits of the words that a sketch adds up
MAX_WEIGHT = 2**20  # so that weighted squared distances fit the field


def check_sketch(declared: Declaration, facts: Facts) -> None:
    """Checks channel.sketch and simulate.lie, before the terms of the channel are computed.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if not facts.selects:
        if declared.simulate.lie is not None:
            raise ScenarioError(
                "simulate.lie makes clients lie about sketches, and there are none: set "
                "channel.sketch, or remove it"
            )
        return
    for reason in _reasons(declared, facts):
        raise ScenarioError(reason)


def _reasons(declared: Declaration, facts: Facts) -> Iterator[str]:
    yield from _channel(declared, facts)
    yield from _elsewhere(declared, facts)
    yield from _rule(declared, facts)
    yield from _clients(declared, facts)
    yield from _liars(declared, facts)


def _channel(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why these keys of [channel] do not go together."""
    channel, options = declared.channel, facts.channel_options
    if channel.groups is not None:
        yield (
            "channel.groups and channel.sketch are two ways to apply a rule to masked updates; "
            "remove one of them"
        )
    if options.get("ring") != RING:
        yield (
            f"channel.ring = {options.get('ring')}: sketches add up words of {RING} bits; use "
            f"channel.ring = {RING}, or remove channel.sketch"
        )


def _elsewhere(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields the parts of a scenario in which updates are not compared like this."""
    privacy, training = declared.privacy, declared.training
    if declared.topology is not None:
        yield (
            f"channel.sketch needs one server, and topology.kind = {declared.topology.kind!r}: "
            "remove the table [topology], or channel.sketch"
        )
    if not facts.algorithm.averages:
        yield (
            f"training.algorithm = {training.algorithm!r} needs more than the mean of some changes "
            "of the model, which is all that channel.sketch opens; use 'fedavg' or 'fedprox', or "
            "remove channel.sketch"
        )
    if privacy is not None and privacy.place != "local":
        yield (
            f"privacy.place = {privacy.place!r}: noise that adds up in the sum does not cover the "
            "distances between updates; use place = 'local', or remove channel.sketch"
        )
    if declared.tosses_coins:
        yield (
            "cohort.sampling = 'poisson' has clients send zeros, which a rule would compare with "
            "updates; remove it, or channel.sketch"
        )
    if declared.weights == "reported":
        yield (
            "weights = 'reported': distances are of weighted updates, so that channel.sketch needs "
            "public weights; use 'equal' or 'declared'"
        )


def _rule(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why the rule cannot choose clients by distances."""
    rule = facts.rule
    if facts.prefilters:
        yield (
            f"defense.prefilters: {facts.prefilters[0].name} takes every update, and "
            "channel.sketch shows distances between them only: use prefilters = [], or "
            "channel.kind = 'plain'"
        )
    able = [name for name, entry in catalog.RULES.items() if entry.choose is not None]
    if rule.entry.choose is None or "f" not in rule.entry.parameters:
        yield (
            f"channel.sketch needs a rule that chooses several clients by the distances between "
            f"them, and {rule.name!r} is none: use {' or '.join(map(repr, able))} with an f, or "
            "remove channel.sketch"
        )
    check_parameters("defense.rule", rule)
    f = corrupt_rows(rule)
    if f < 1:
        yield (
            f"defense.rule: f must be 1 or more with channel.sketch, got {f}; where no client "
            "lies, use defense.rule = 'mean' and remove channel.sketch"
        )


def _clients(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why these clients are too few or too many, or weigh too much."""
    c, f = facts.channel_options["corrupt"], corrupt_rows(facts.rule)
    needed = needed_clients(corrupt=c, liars=f)
    if facts.cohort_size < needed:
        yield (
            f"channel.sketch with channel.corrupt = {c} and f = {f} of {facts.rule.name} needs "
            f"2 x {c} + 2 x {f} + 1 = {needed} clients in a round, and there are "
            f"{facts.cohort_size}; lower one of the two, or use more clients"
        )
    if facts.invited > MAX_CLIENTS:
        yield (
            f"channel.sketch compares at most {MAX_CLIENTS} clients in a round, and "
            f"{facts.invited} are invited; set cohort.size = {MAX_CLIENTS} or less"
        )
    if facts.max_weight > MAX_WEIGHT:
        yield (
            f"channel.sketch takes weights of at most {MAX_WEIGHT}, and one client has "
            f"{facts.max_weight}; use weights = 'equal'"
        )


def _liars(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why these clients cannot lie."""
    lies = Counter(lie.client for lie in declared.simulate.lie or ())
    for client, count in sorted(lies.items()):
        if client >= facts.clients:
            yield f"simulate.lie: there is no client {client} among {facts.clients}"
        if count > 1:
            yield f"simulate.lie: each client once, got client {client} {count} times"
    for client in sorted(facts.missing & set(lies)):
        yield (
            f"simulate.lie: client {client} is in simulate.missing, too, and takes no part in "
            "which it could lie; remove it from one of the two"
        )
    attackers = set() if declared.attack is None else set(declared.attack.clients)
    together = len(attackers | set(lies))
    most = most_corrupt(facts)
    if lies and together > most:
        yield (
            f"simulate.lie: {together} clients attack or lie, and channel.corrupt and f of "
            f"{facts.rule.name} allow {most}; raise f, or let fewer lie"
        )


def most_corrupt(facts: Facts) -> int:
    """Returns how many clients may be corrupt where a rule withstands liars behind masks.

    Two adversaries are meant, never both at once: clients that work together with the server, and
    clients that lie to it.
    """
    corrupt: int = facts.channel_options["corrupt"]
    return max(corrupt, corrupt_rows(facts.rule))


def check_choice(declared: Declaration, facts: Facts) -> None:
    """Checks that the rule chooses enough clients for a sum. It needs terms that fit.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    c, f = facts.channel_options["corrupt"], corrupt_rows(facts.rule)
    rest, members = len(facts.members) - len(facts.missing), facts.terms.least_members()
    if rest < members:
        raise ScenarioError(
            f"simulate.missing: {rest} of {facts.clients} clients are left after the set-up, and "
            f"with channel.corrupt = {c} and f = {f} of {facts.rule.name} it takes {members}; let "
            "fewer miss it"
        )
    clients, chosen, least, _ = tried("defense", lambda: numbers_of(facts))
    if chosen < least:
        raise ScenarioError(
            f"defense.rule: {facts.rule.name} would choose {chosen} of {clients} "
            f"clients, which open no sum of fewer than {least}; let the rule keep more of them, or "
            "lower channel.min_cohort if it is set"
        )
    if not goes_on(facts, clients, liars=f):
        raise ScenarioError(
            f"defense.rule: f = {f} of {clients} clients could stop every round, since "
            f"{facts.rule.name} opens no sum of {least} or more while they are silent; use more "
            "clients, lower f, let the rule keep more, or lower channel.min_cohort if it is set"
        )
