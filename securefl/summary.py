"""What a scenario will do, in a few lines."""

from securefl import catalog, channel
from securefl.channels.masking.agreement import MAX_BLOCK
from securefl.scenario import Scenario


def summary(scenario: Scenario) -> str:
    """A valid scenario in words: who trains, what is promised, what the rule gets."""
    training, privacy, rule = scenario.training, scenario.privacy, scenario.defense.rule
    lines = [
        f"valid: {scenario.rounds} rounds of {scenario.cohort_size} of {scenario.clients} clients, "
        f"{scenario.data.name} ({scenario.partition}), {scenario.model.name}, {training.kind}",
        _channel(scenario),
        f"rule {rule.name}{_arguments(rule.parameters)}, weights {scenario.weights}, server {scenario.server.step}",
    ]
    if privacy is None or not scenario.claims_dp:
        lines.append("privacy: no claim")
    else:
        claim = f"({privacy.epsilon:g}, {privacy.delta:g})-DP for one training {privacy.unit}"
        lines.append("outside the claim: metrics, timings, test records; other runs on the same records add to it")
        lines.append(
            f"privacy: {claim}, {privacy.place} noise"
            + ("" if privacy.noise == "system" else "; SEEDED noise: whoever has the seed removes it")
        )
    if scenario.attack is not None:
        names = ", ".join(map(str, scenario.attack.clients))
        lines.append(f"attack {scenario.attack.name}{_arguments(scenario.attack.parameters)} by client {names}")
    return "\n".join(lines)


def _channel(scenario: Scenario) -> str:
    """What the channel shows the server, and how many may drop out of a masked sum."""
    kind, cohort = scenario.channel.kind, scenario.cohort_size
    sees = catalog.CHANNELS[kind].threats["server"]
    if kind == "plain":
        return f"channel plain: the server sees {sees}, {cohort} rows"
    terms = channel.terms(scenario)
    blocks = -(-cohort // MAX_BLOCK)
    largest = -(-cohort // blocks)
    divided = f"{blocks} blocks of up to {largest}" if blocks > 1 else f"one sum of {largest}"
    return (
        f"channel masked: the server sees {sees}; {divided}, threshold {terms.threshold(largest)} "
        f"against {terms.corrupt} corrupt, {largest - terms.fewest(largest)} may drop out; coordinates clipped at "
        f"{terms.code.clip:g}, resolution {terms.code.step:.2g}"
    )


def _arguments(parameters: dict[str, object]) -> str:
    return f" ({', '.join(f'{name}={value}' for name, value in parameters.items())})" if parameters else ""
