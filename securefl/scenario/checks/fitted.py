"""Whether a fitted step of data.harmonise fits the records, the claim and the federation."""

from collections.abc import Iterator

from securefl.errors import ScenarioError
from securefl.federation.sums import MAX_SITES
from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.harmonise_table import Combat, FittedStep

MAX_FITTED_NUMBERS = 100_000  # of one sum


def check_fitted(declared: Declaration, facts: Facts) -> None:
    """Checks that a fit has its records, its price and all sites.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    step = declared.data.fit
    if step is None:
        return
    if len([one for one in declared.data.harmonise or () if one.fitted]) > 1:
        raise ScenarioError("data.harmonise takes one fitted step: leave combat or standardise out")
    for reason in (
        *_columns(step, facts),
        *_price(step, declared),
        *_places(step, declared, facts),
    ):
        raise ScenarioError(f"data.harmonise: {step.name} {reason}")
    if isinstance(step, Combat):
        for reason in _combat(step, declared, facts):
            raise ScenarioError(f"data.harmonise: combat {reason}")


def _columns(step: FittedStep, facts: Facts) -> Iterator[str]:
    """Yields why the chosen columns cannot be fitted."""
    if facts.task.image:
        yield "takes columns of numbers, and these records are images; remove it"
    for key, columns in step.chosen:
        if len(set(columns)) < len(columns):
            yield f"names a column twice in {key}; leave one"
        if columns and max(columns) >= facts.task.features:
            yield (
                f"has no column {max(columns)}: the records have the columns 0 to "
                f"{facts.task.features - 1}"
            )
    columns = step.columns_of(facts.task.features)
    both = sorted(set(columns) & set(step.regressors))
    if both:
        yield f"has column {both[0]} among its features and its covariates; choose one"
    if not columns:
        yield "has no features left; name fewer covariates"
    if len(columns) * (1 + len(step.regressors)) > MAX_FITTED_NUMBERS:
        yield f"would fit more than {MAX_FITTED_NUMBERS} numbers; name fewer columns"


def _price(step: FittedStep, declared: Declaration) -> Iterator[str]:
    """Yields why the fit and the claim do not go together."""
    cost, privacy = step.cost, declared.privacy
    if not declared.claims_dp:
        for key in ("noise_multiplier", "bound"):
            if getattr(step, key) is not None:
                yield f"has {key}, which has no effect without a DP claim; remove it"
        return
    if cost is None or privacy is None:
        yield (
            "needs noise_multiplier under a DP claim: without noise one record could change all "
            "harmonised records"
        )
        return
    alone = exact_epsilon(1 / cost.noise_multiplier, privacy.delta)
    if alone >= privacy.epsilon:
        yield (
            f"alone spends epsilon {alone:.3g} of {privacy.epsilon:g} with noise_multiplier = "
            f"{cost.noise_multiplier:g}; raise noise_multiplier"
        )


def _places(step: FittedStep, declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields the parts of a scenario in which nobody fits, yet."""
    kind = declared.channel.kind
    if kind not in catalog.APART:
        yield f"is fitted by sums over {' or '.join(map(repr, catalog.APART))}, not over {kind!r}"
    if declared.topology is not None:
        yield f"needs one server, which topology = {declared.topology.kind!r} does not have"
    if declared.init_from is not None:
        yield "would be fitted again by a run with init_from, to which it is new; remove one"
    if declared.rehearsal is not None:
        yield "is not fitted in rehearsals, whose records are lent; remove one"
    if declared.simulate.missing:
        yield "needs all sites, and simulate.missing takes one away; remove one"
    if facts.clients > MAX_SITES:
        yield f"adds statistics of {MAX_SITES} sites at most, got {facts.clients}"


def _combat(step: Combat, declared: Declaration, facts: Facts) -> Iterator[str]:
    """Yields why no site effects can be taken out."""
    held_out = declared.data.held_out is not None
    if facts.clients < 2:
        yield "needs two sites or more: one has no location of its own"
    if step.shrinks and len(step.columns_of(facts.task.features)) < 2:
        yield (
            "learns its priors across features, of which there is one; name more, or set "
            "empirical_bayes = false"
        )
    if held_out and step.new_sites is None:
        yield (
            "knows nothing of a site that is held out: set new_sites = 'unchanged', or 'fit' for "
            "a location and scale of its own"
        )
    if not held_out and step.new_sites is not None:
        yield "has new_sites, which has no effect without data.held_out; remove it"
    if step.new_sites == "fit" and declared.claims_dp:
        yield "has new_sites = 'fit', for which nobody pays under a DP claim; use 'unchanged'"
    if not held_out and facts.data_set.published and not _has_own_tests(facts):
        yield (
            f"needs test records of each site's own, which partition {facts.partition!r} of "
            f"{declared.data.name} does not have; use standardise"
        )


def _has_own_tests(facts: Facts) -> bool:
    """Whether a published partition gives every site test records."""
    return facts.partition != "pooled" and facts.partition in facts.data_set.tests
