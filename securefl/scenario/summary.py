"""What a scenario will do, in a few lines."""

from collections.abc import Sequence

from securefl.privacy.chain import seeded_mark
from securefl.scenario import catalog
from securefl.scenario.making.channel import terms_of
from securefl.scenario.scenario import Scenario


def summary(scenario: Scenario, seeded_before: Sequence[str] = ()) -> str:
    """A valid scenario in words: who trains, what is promised, what the rule gets.

    Args:
        scenario: checked.
        seeded_before: the runs that it goes on from whose noise came from a seed.
    """
    training, privacy, rule = scenario.training, scenario.privacy, scenario.defense.rule
    options = scenario.facts.channel_options
    lines = [
        f"valid: {scenario.rounds} rounds of {scenario.cohort_size} of {scenario.clients} clients, "
        f"{_data(scenario)}, {scenario.model.name}, {training.kind}",
        _channel(scenario),
        f"{_before(scenario)}rule {rule.name}{_arguments(rule.parameters)}, {_weights(scenario)}, "
        f"server {scenario.server.step}",
    ]
    if options.get("secrets") == "seeded":
        lines.append(
            "SEEDED set-up: whoever has the seed knows beforehand which clients are summed together"
        )
    if scenario.channel.reveal_counts:
        lines.append(
            "weights: the server sees each client's exact record count (channel.reveal_counts)"
        )
    if privacy is None or not scenario.claims_dp:
        lines.append("privacy: no claim")
    else:
        claim = f"({privacy.epsilon:g}, {privacy.delta:g})-DP for one training {privacy.unit}"
        lines.append(
            "outside the claim: metrics, timings, test records; other runs on the same records add to it"
        )
        lines.append(_taken_as_given(scenario))
        if scenario.cohort_size < scenario.clients:
            lines.append(
                "outside the claim: who is in a cohort, which the scenario's seed decides: it amplifies nothing"
            )
        lines.append(
            f"privacy: {claim}, {privacy.place} noise{seeded_mark(privacy.noise, seeded_before)}"
        )
    if scenario.attack is not None:
        names = ", ".join(map(str, scenario.attack.clients))
        lines.append(
            f"attack {scenario.attack.name}{_arguments(scenario.attack.parameters)} by client {names}"
        )
        if scenario.attack.knows == "omniscient":
            lines.append(
                "a fiction, for the worst case: the attack sees every update, as no client does"
            )
    return "\n".join(lines)


def _taken_as_given(scenario: Scenario) -> str:
    """What chose the records that the claim is about, and whose records it does not cover."""
    given = ["which records are for training"]
    if scenario.partition in catalog.DEALS:
        dealt = f"how {scenario.partition!r} deals one data set to the clients"
        given.append(f"{dealt} (a record less deals others anew)")
    if scenario.rehearsal is not None:
        given.append("which test records the rehearsal lends")
    line = f"taken as given by the claim: {', '.join(given)}"
    if scenario.attack is None:
        return line
    return f"{line}; not covered: records of the corrupt clients, who may send them as they are"


def _weights(scenario: Scenario) -> str:
    """Whose weights count."""
    used = catalog.RULES[scenario.defense.rule.name].weighted and not scenario.defense.prefilters
    return (
        f"weights {scenario.weights}"
        if used
        else f"all rows count the same (weights {scenario.weights} are not used)"
    )


def _before(scenario: Scenario) -> str:
    """The pre-filters, in their order."""
    return "".join(
        f"{one.name}{_arguments(one.parameters)}, then " for one in scenario.defense.prefilters
    )


def _data(scenario: Scenario) -> str:
    """Which records, in which size, dealt how, and who judges where it is not the test records."""
    options = scenario.facts.data_options
    size = f", {options['size']} pixels a side" if options.get("size") else ""
    judged = ", judged on VALIDATION records" if options.get("test_on") == "validation" else ""
    kept = (
        f", each record kept with probability {scenario.data.share:g}"
        if scenario.data.share is not None
        else ""
    )
    most = (
        f", at most {scenario.data.most} records a client" if scenario.data.most is not None else ""
    )
    noise = (
        f", labels wrong with probability {scenario.data.label_noise:g}"
        if scenario.data.label_noise
        else ""
    )
    return f"{scenario.data.name} ({scenario.partition}{size}{kept}{most}{noise}{judged})"


def _channel(scenario: Scenario) -> str:
    """Says what the channel shows the server, and what it costs."""
    kind, facts = scenario.facts.channel, scenario.facts
    described = kind.describe(terms_of(scenario, facts), facts.cohort_size)
    return f"channel {scenario.channel.kind}: the server sees {kind.threats['server']}{described}"


def _arguments(parameters: dict[str, object]) -> str:
    return (
        f" ({', '.join(f'{name}={value}' for name, value in parameters.items())})"
        if parameters
        else ""
    )
