"""The plan that a channel is built from, and the terms that its clients agree on."""

from typing import Any

from securefl.channels.protocol import Plan
from securefl.rng import StreamFor, system_keystream
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


def plan_of(
    declared: Declaration,
    facts: Facts,
    *,
    session: bytes,
    d: int,
    stream_for: StreamFor,
    config: bytes = b"",
) -> Plan:
    """What the channel of this scenario is built from."""
    return Plan(
        session=session,
        d=d,
        clients=tuple(range(facts.clients)),
        cohort=facts.cohort_size,
        rounds=declared.rounds,
        min_cohort=facts.min_cohort,
        weights=facts.public_weights,
        max_weight=facts.max_weight,
        stream_for=stream_for,
        config=config,
        missing=frozenset(declared.simulate.missing),
    )


def terms_of(declared: Declaration, facts: Facts) -> Any:
    """What the clients of this scenario agree on, but for identities. Raises ValueError where it does not fit."""
    sketch = plan_of(
        declared,
        facts,
        session=b"",
        d=facts.coordinates,
        stream_for=lambda purpose, client, round: system_keystream(),
    )
    return facts.channel.terms(sketch, **facts.channel_options)
