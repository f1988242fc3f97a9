"""Whether a scenario can protect clients as a whole, and the keys that are for that."""

from collections.abc import Iterator

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts

# One client's part in a mean of fewer is as large as the noise that would hide it.
MIN_CLIENTS = 20
_UNIT = "privacy.unit = 'client'"


def check_unit(declared: Declaration, facts: Facts) -> None:
    """Checks what the unit CLIENT needs, and that its keys have an effect.

    It comes before whatever is computed from the clip or the coins.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    reasons = _reasons if declared.protects_clients else _without_effect
    for reason in reasons(declared, facts):
        raise ScenarioError(reason)


def _without_effect(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields the keys that are for another unit."""
    for key in ("clip_quantile", "clip_lr"):
        if getattr(declared.training, key) is not None:
            yield f"training.{key} has an effect with {_UNIT} only; remove it"
    if declared.tosses_coins:
        yield (
            f"cohort.sampling has an effect with {_UNIT} only: a client's coin amplifies nothing "
            "for one of its records; remove it"
        )


def _reasons(declared: Declaration, facts: Facts) -> Iterator[str]:
    yield from _training(declared, facts)
    yield from _clients(declared, facts)
    yield from _coins(declared, facts)
    yield from _elsewhere(declared, facts)
    yield from _adaptive(declared)


def _training(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why the updates are not those of plain local steps."""
    training = declared.training
    if facts.trainer.private:
        yield (
            f"{_UNIT} clips and noises whole updates, and training.kind = {training.kind!r} has "
            "noise for single records: set training.kind = 'sgd', or privacy.unit = 'example'"
        )
    if not facts.algorithm.averages:
        yield (
            f"{_UNIT} covers the change of the model alone, and training.algorithm = "
            f"{training.algorithm!r} keeps or sends more; use 'fedavg' or 'fedprox'"
        )
    if training.fine_tune is not None:
        yield (
            f"training.fine_tune fits a model to the records of each client, which no noise of "
            f"{_UNIT} covers; remove it"
        )


def _clients(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why these clients, their cohorts or weights cannot be protected so."""
    privacy = declared.privacy
    if declared.claims_dp and facts.clients < MIN_CLIENTS:
        yield (
            f"{_UNIT} needs {MIN_CLIENTS} clients or more for a finite epsilon, got "
            f"{facts.clients}: noise that hides a whole client is as large as its part in so few; "
            "use privacy.unit = 'example', or more clients"
        )
    if declared.claims_dp and privacy is not None and privacy.delta >= 1 / facts.clients:
        yield (
            f"privacy.delta must be below 1/n = {1 / facts.clients:g} for {facts.clients} clients, "
            f"got {privacy.delta:g}; 1e-5 is a usual choice"
        )
    if declared.weights == "reported":
        yield (
            f"weights = 'reported' shows numbers of records that no noise of {_UNIT} covers; use "
            "'equal' or 'declared'"
        )
    if privacy is not None and privacy.records is not None and declared.weights == "equal":
        yield (
            f"privacy.records has no effect with {_UNIT} and weights = 'equal'; remove it, or set "
            "weights = 'declared'"
        )


def _coins(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why clients cannot toss coins, or not in secret."""
    privacy, cohort = declared.privacy, declared.cohort
    if cohort is None or not declared.tosses_coins:
        return
    is_central = declared.claims_dp and privacy is not None and privacy.place == "central"
    # The claim holds against the server, and clients encrypt updates without noise. TenSEAL takes
    # some per cent longer for numbers than for zeros.
    if is_central and facts.channel.opener == "key holders":
        yield (
            "cohort.sampling = 'poisson' counts on coins that nobody sees: with privacy.place = "
            f"'central' and channel.kind = {declared.channel.kind!r} clients that are out encrypt "
            "zeros, in less time, so that the server could see the coins by a clock; use place = "
            "'local', or remove sampling"
        )
    for key in ("over_select", "deadline"):
        if getattr(cohort, key) is not None:
            yield (
                f"cohort.{key} chooses among the invited, and with cohort.sampling = 'poisson' "
                "everybody is in each round with a coin of its own; remove one of them"
            )
    if cohort.size >= facts.clients:
        yield (
            f"cohort.sampling = 'poisson' with cohort.size = {cohort.size} of {facts.clients} "
            "clients leaves nobody out; lower size, or remove sampling"
        )


def _elsewhere(declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields the parts of a scenario that are not made for this unit."""
    if declared.topology is not None:
        yield (
            f"{_UNIT} is for one server and its clients, got topology.kind = "
            f"{declared.topology.kind!r}; remove the topology"
        )
    if declared.data.fit is not None:
        yield (
            f"data.harmonise: {declared.data.fit.name} pays for single records, and epsilons of "
            f"two units are never added; remove it, or {_UNIT}"
        )
    if declared.rehearsal is not None:
        yield f"rehearsal changes single records of a client, and {_UNIT} covers all; remove one"
    if declared.leave == "noisy":
        yield (
            f"evaluate.leave = 'noisy' pays for single test records, and {_UNIT} covers all that "
            "a client holds; use leave = 'sums' or 'never'"
        )
    if declared.refine is not None:
        yield f"refine keeps ledgers for single records, not for {_UNIT}; use unit = 'example'"


def _adaptive(declared: Declaration) -> Iterator[str]:
    """Yields why the clip cannot follow a quantile."""
    training, defense = declared.training, declared.defense
    if training.clip_quantile is None:
        if training.clip_lr is not None:
            yield "training.clip_lr has an effect with training.clip_quantile only; remove it"
        return
    if defense.rule.name != "mean" or defense.prefilters:
        yield (
            "training.clip_quantile takes the share of clipped updates from their mean: use "
            "defense.rule = 'mean' without prefilters, or a fixed training.clip"
        )
