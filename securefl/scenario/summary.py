"""What a scenario will do, in a few lines."""

from collections.abc import Iterator, Mapping, Sequence

from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.privacy.chain import seeded_mark
from securefl.privacy.past import NO_PAST, Past
from securefl.scenario import catalog
from securefl.scenario.group_words import group_words, seen_words
from securefl.scenario.model_words import model_words
from securefl.scenario.noise_words import noise_words
from securefl.scenario.own_data import is_elsewhere
from securefl.scenario.place_words import place_words
from securefl.scenario.protected import protected_words
from securefl.scenario.regions import regions_of
from securefl.scenario.scenario import Scenario
from securefl.scenario.sketch_words import sketch_words
from securefl.scenario.tables import Attack, Privacy
from securefl.scenario.topology_words import topology_words
from securefl.scenario.training_words import training_words


def summary(
    scenario: Scenario,
    seeded_before: Sequence[str] = (),
    pasts: Sequence[Past] = (NO_PAST,),
) -> str:
    """Returns a valid scenario in words: training, channel, rule and claim.

    Args:
        scenario: checked.
        seeded_before: the runs that it goes on from whose noise came from a seed.
        pasts: what its clients have spent on the model that training starts from.
    """
    lines = [*_course(scenario), *_cautions(scenario)]
    if scenario.privacy is not None and scenario.claims_dp:
        lines += _claim(scenario, scenario.privacy, seeded_before)
        lines += place_words(scenario, pasts)
        lines += noise_words(scenario)
    else:
        lines.append("privacy: no claim")
    if scenario.attack is not None:
        lines += _attack(scenario.attack)
    return "\n".join(lines)


def _course(scenario: Scenario) -> Iterator[str]:
    """Yields the course of a round: training, channel, rule, server's step."""
    yield (
        f"valid: {scenario.rounds} rounds of {scenario.cohort_size} of {scenario.clients} clients, "
        f"{_data(scenario)}, {scenario.facts.architecture.name}, "
        f"{training_words(scenario.training)}"
    )
    if (clock := _clock(scenario)) is not None:
        yield clock
    entry = scenario.facts.topology
    has_server = entry is None or entry.has_server
    if has_server:
        yield from _channel(scenario)
    defense = scenario.defense
    chosen = [*defense.prefilters, defense.rule]
    names = [f"{choice.name}{_arguments(choice.parameters)}" for choice in chosen]
    names[-1] = f"rule {names[-1]}"
    if has_server:
        yield f"{', then '.join(names)}, {_weights(scenario)}, server {scenario.server.step}"
    elif entry is not None and entry.around:
        yield f"{names[-1]}, which each node has for itself"


def _channel(scenario: Scenario) -> Iterator[str]:
    """Yields what a server sees; with regions, a line for each size of them."""
    facts = scenario.facts
    shown = seen_words(scenario)
    kind = f"channel {scenario.channel.kind}"
    by_size = {region.cohort_size: region for region in regions_of(scenario, facts).values()}
    for size, region in sorted(by_size.items()):
        described = facts.channel.describe(region.terms, size)
        yield f"{kind}: the server of a region of {size} sees {shown}{described}"
    if not by_size:
        # Rows are those that a round takes; sums are dealt among all that it invites.
        size = facts.rows if facts.channel.shows_every_update else facts.invited
        described = facts.channel.describe(facts.terms, size)
        yield f"{kind}: the server sees {shown}{described}"
    yield from sketch_words(facts)


def _clock(scenario: Scenario) -> str | None:
    """Returns how the simulated clock decides about a round; None without one."""
    speed, cohort, facts = scenario.simulate.speed, scenario.cohort, scenario.facts
    if speed is None:
        return None
    words = [f"simulated clock: one training takes {_range(speed)}"]
    if facts.invited > facts.cohort_size:
        words.append(f"{facts.invited} are invited, the first {facts.cohort_size} count")
    if cohort is not None and cohort.deadline is not None:
        words.append(f"nobody is waited for after {cohort.deadline}")
    return ", ".join(words)


def _range(values: Sequence[int]) -> str:
    """Returns the least and the largest of some whole numbers."""
    least, largest = min(values), max(values)
    return f"{least}" if least == largest else f"{least} to {largest}"


def _data(scenario: Scenario) -> str:
    """Returns which records train, how they are dealt and changed, and which judge."""
    data, options = scenario.data, scenario.facts.data_options
    words = [scenario.partition]
    scanners = scenario.simulate.scanners or ()
    if scanners:
        words.append(f"simulated scanners at {', '.join(str(each.client) for each in scanners)}")
    if options.get("size"):
        words.append(f"{options['size']} pixels a side")
    if data.share is not None:
        words.append(f"each record kept with probability {data.share:g}")
    if data.most is not None:
        words.append(f"at most {data.most} records a client")
    if data.label_noise is not None:
        words.append(f"labels wrong with probability {data.label_noise:g}")
    if data.harmonise is not None:
        words.append(f"harmonised by {', then '.join(step.name for step in data.harmonise)}")
    if options.get("test_on") == "validation":
        words.append("judged on VALIDATION records")
    return f"{data.name} ({', '.join(words)})"


def _weights(scenario: Scenario) -> str:
    """Returns whose weights count."""
    facts = scenario.facts
    if facts.selects or (facts.rule.entry.weighted and not scenario.defense.prefilters):
        return f"weights {scenario.weights}"
    return f"all rows count the same (weights {scenario.weights} are not used)"


def _fit(scenario: Scenario) -> Iterator[str]:
    """Yields who sees what of the fit that precedes the rounds."""
    fit = scenario.data.fit
    if fit is None:
        return
    noised = "noised " if fit.cost is not None else ""
    if scenario.facts.channel.shows_every_update:
        yield f"data.harmonise: the server sees the {noised}statistics of each site"
    else:
        yield f"data.harmonise: the server sees sums of {noised}statistics over all sites"


def _cautions(scenario: Scenario) -> Iterator[str]:
    """Yields settings that give something away, or do less than they seem to."""
    if scenario.facts.channel_options.get("secrets") == "seeded":
        yield "SEEDED set-up: the seed tells beforehand which clients are summed together"
        if scenario.facts.selects:
            yield "SEEDED matrices: whoever has the seed can lie about its update unseen"
    yield from group_words(scenario)
    if scenario.channel.reveal_counts:
        yield "weights: the server sees each client's exact record count (channel.reveal_counts)"
    yield from _fit(scenario)
    yield from _models(scenario)
    yield from model_words(scenario)
    for name, plugin in scenario.facts.plugins.items():
        if plugin.defaults:
            yield f"{name}: its author exports a bare function, taken to {plugin.defaults}"
    if scenario.engine is not None and scenario.engine.stack not in (None, "off"):
        yield "engine: clients train in stacks where they can, which rounds in another order"
    if scenario.engine is not None and scenario.engine.device == "cuda":
        yield "engine: models train and are evaluated on a GPU, which rounds in another order"
    every = None if scenario.evaluate is None else scenario.evaluate.every
    if every not in (None, 1):
        yield f"the model is evaluated after every {every} rounds and after the last one, only"
    if scenario.keeps_best:
        yield "the validation records choose which evaluated model the run ends with"
    yield from _figures(scenario)
    yield from _batches(scenario)


def _models(scenario: Scenario) -> Iterator[str]:
    """Yields who sees whole models, and which models no claim covers."""
    yield from topology_words(scenario)
    entry = scenario.facts.algorithm
    if entry.pulled or scenario.training.fine_tune is not None:
        yield "each site's own model is fitted without noise: no claim covers it or its figures"


def _figures(scenario: Scenario) -> Iterator[str]:
    """Yields what leaves sites about their test records."""
    if scenario.evaluate is None or scenario.leave == "never":
        return
    line = f"between sites, {scenario.judging} records are counted where they are: "
    if scenario.leave == "sums":
        yield f"{line}the sums are NOT private"
        return
    epsilon, delta = scenario.evaluate.price
    yield (
        f"{line}noise makes all figures together ({epsilon:g}, {delta:g})-DP "
        f"for one {scenario.judging} record"
    )


def _batches(scenario: Scenario) -> Iterator[str]:
    """Yields a remark where a batch is larger than all public records of a client."""
    if scenario.facts.trainer.one_sum:
        return
    batch = scenario.training.batch
    sizes = scenario.facts.public_records
    # Public sizes only: a remark that depended on real ones would tell them.
    small = [client for client, records in enumerate(sizes or ()) if records < batch]
    if sizes is None or not small:
        return
    least = min(sizes)
    yield (
        f"training.batch = {batch} is above the {least} records of client {sizes.index(least)}"
        f"{' and others' if len(small) > 1 else ''}: a step takes all of them"
    )


_DATA_CHECK = "`securefl data check` of this scenario tells you"


def _claim(scenario: Scenario, privacy: Privacy, seeded_before: Sequence[str]) -> Iterator[str]:
    """Yields the claim and its limits."""
    yield (
        "outside the claim: metrics, timings, test records; "
        "other runs on the same records add to it"
    )
    yield _taken_as_given(scenario)
    if not scenario.facts.data_set.published:
        elsewhere = is_elsewhere(scenario.data)
        yield (
            "records that do not fit what is declared are clamped or dropped without a word: "
            f"{'`securefl site check` tells each site' if elsewhere else _DATA_CHECK} of them"
        )
    if scenario.facts.invited < scenario.clients:
        yield (
            "outside the claim: who is in a cohort, which the scenario's seed decides: "
            "it amplifies nothing"
        )
    fit = scenario.data.fit
    if fit is not None and fit.cost is not None:
        alone = exact_epsilon(1 / fit.cost.noise_multiplier, privacy.delta)
        yield (
            f"data.harmonise: {fit.name} is fitted with noise of multiplier "
            f"{fit.cost.noise_multiplier:g}, once, for epsilon {alone:.3g} by itself; the claim "
            "covers it together with training"
        )
    claim = f"({privacy.epsilon:g}, {privacy.delta:g})-DP for {protected_words(scenario)}"
    if scenario.facts.data_set.grouped and not scenario.protects_clients:
        claim += ", NOT for a group of records such as a patient's"
    mark = seeded_mark(privacy.noise, seeded_before)
    yield f"privacy: {claim}, {privacy.place} noise{mark}"


def _taken_as_given(scenario: Scenario) -> str:
    """Returns the choices that the claim takes as given, and what it leaves out."""
    choices = ["which records are for training"]
    if scenario.partition in catalog.DEALS:
        elsewhere = (
            "" if scenario.protects_clients else " (without one record, others go elsewhere)"
        )
        choices.append(f"how {scenario.partition!r} deals one data set to the clients{elsewhere}")
    if scenario.training.class_weights is not None:
        choices.append("the class weights")
    if not scenario.facts.data_set.published:
        choices.append(f"the declared {', '.join(_declared(scenario))}")
    if scenario.rehearsal is not None:
        choices.append("which test records the rehearsal lends")
    line = f"taken as given by the claim: {', '.join(choices)}"
    if scenario.attack is None:
        return line
    return f"{line}; not covered: records of the corrupt clients, who may send them as they are"


def _declared(scenario: Scenario) -> Iterator[str]:
    """Yields the keys that say of a user's own records what nobody has published."""
    yield "privacy.records (training records of each client)"
    keys = ("num_classes", "sites", "class_names", "ranges", "schema", "crosswalk", "per_record")
    for key in keys:
        if scenario.data.given(key) is not None:
            yield f"data.{key}"


def _attack(attack: Attack) -> Iterator[str]:
    clients = ", ".join(map(str, attack.clients))
    yield f"attack {attack.name}{_arguments(attack.parameters)} by client {clients}"
    if attack.knows == "omniscient":
        yield "a fiction, for the worst case: the attack sees every update, as no client does"


def _arguments(parameters: Mapping[str, object]) -> str:
    """Returns hyper-parameters in brackets; "" without any."""
    if not parameters:
        return ""
    return f" ({', '.join(f'{name}={value}' for name, value in parameters.items())})"
