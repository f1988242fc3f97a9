"""securefl privacy: the accountant as a calculator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from securefl.errors import ScenarioError
from securefl.ui.commands.options import Shown, drawn
from securefl.ui.commands.releases import (
    ContributingOption,
    DimensionOption,
    GranularityOption,
    Place,
    PlaceOption,
    Shares,
    SharesOption,
    gaussians_of,
    in_words,
    releases_of,
    shares_of,
)

if TYPE_CHECKING:
    from securefl.ui.styles import Style

app = typer.Typer(
    help="Epsilon, noise and privacy profile of noisy releases.", no_args_is_help=True
)

Rate = Annotated[
    float,
    typer.Option("--sample-rate", help="Probability that a record is in a step, in (0, 1]."),
]
Noise = Annotated[
    float, typer.Option("--noise-multiplier", help="Deviation of the noise over the clip.")
]
Steps = Annotated[int, typer.Option("--steps", help="Noisy steps in all: rounds x steps a round.")]
Delta = Annotated[float, typer.Option("--delta", help="In (0, 1), well below 1 / records.")]
Target = Annotated[float, typer.Option("--epsilon", help="The target.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw both curves into this file (.svg, .png or .pdf)."),
]
Cohort = Annotated[int, typer.Option("--cohort", help="Clients in a round.")]
Clients = Annotated[int, typer.Option("--clients", help="Clients of the federation.")]
NoiseOfClients = Annotated[
    float,
    typer.Option(
        "--noise-multiplier", help="Deviation of the noise over the most that one client changes."
    ),
]
Rounds = Annotated[int, typer.Option("--rounds", help="Rounds in all.")]
DeltaOfClients = Annotated[
    float, typer.Option("--delta", help="In (0, 1), well below 1 / clients.")
]

FALSE_ALARM_RATES = (0.001, 0.01, 0.1)
SHARES_OF_EPSILON = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)  # at which `profile` prints delta


@app.command()
def epsilon(
    noise_multiplier: Noise,
    steps: Steps,
    delta: Delta,
    sample_rate: Rate = 1.0,
    place: PlaceOption = Place.LOCAL,
    shares: SharesOption = None,
    contributing: ContributingOption = None,
    granularity: GranularityOption = None,
    dimension: DimensionOption = None,
    display: Shown = None,
) -> None:
    """Epsilon of some noisy steps, with the answers of other accountants."""
    in_shares = shares_of(place, shares, contributing, granularity, dimension)
    if in_shares is not None:
        _show_bound(in_shares, sample_rate, noise_multiplier, steps, delta, display)
        return
    with _refusals_of_options():
        from securefl.privacy.accounting import crosscheck
        from securefl.privacy.accounting.epsilon import bounds

        releases = gaussians_of(sample_rate, noise_multiplier, steps)
        lower, upper = bounds(releases, delta=delta)
        renyi = crosscheck.renyi_epsilon(releases, delta=delta)
        prv = None
        # Opacus' accountant divides by the noise.
        if noise_multiplier > 0:
            prv = crosscheck.prv_epsilon(releases, delta=delta)
    same = " (the epsilon above)" if renyi == upper else ""
    # A lower end of 0 is a proof only where the upper end is 0, too.
    has_lower_end = lower > 0 or upper == 0
    surely = f"surely not below {lower:.6g}" if has_lower_end else "no lower end was found"
    lines = [
        f"epsilon {upper:.6g} at delta {delta:g} ({surely})",
        *in_words(None, sample_rate, noise_multiplier, steps),
        f"cross-checks: Rényi DP {renyi:.6g}{same}, Opacus PRV {_prv_in_words(prv, lower)}",
    ]
    _show(display, lines, epsilon=upper, lower=lower, delta=delta, renyi=renyi, prv=prv)


def _show_bound(
    shares: Shares,
    sample_rate: float,
    noise_multiplier: float,
    steps: int,
    delta: float,
    display: "Style | None",
) -> None:
    """Prints the bound for shares of noise, of which the other accountants do not know."""
    with _refusals_of_options():
        from securefl.privacy.accounting.epsilon import epsilon as epsilon_of
        from securefl.privacy.events import event_to_json

        releases = releases_of(shares, sample_rate, noise_multiplier, steps)
        upper = epsilon_of(releases, delta=delta)
        event = event_to_json(shares.event(noise_multiplier, sample_rate))
    lines = [
        f"epsilon {upper:.6g} at delta {delta:g} (a proven bound)",
        *in_words(shares, sample_rate, noise_multiplier, steps),
    ]
    _show(display, lines, epsilon=upper, delta=delta, event=event)


@app.command()
def calibrate(
    target: Target,
    steps: Steps,
    delta: Delta,
    sample_rate: Rate = 1.0,
    place: PlaceOption = Place.LOCAL,
    shares: SharesOption = None,
    granularity: GranularityOption = None,
    dimension: DimensionOption = None,
    display: Shown = None,
) -> None:
    """The noise multiplier that a target epsilon needs."""
    in_shares = shares_of(place, shares, None, granularity, dimension)
    with _refusals_of_options():
        from securefl.privacy.accounting.epsilon import epsilon as epsilon_of

        noise = _calibrated(in_shares, target, sample_rate, steps, delta)
        releases = releases_of(in_shares, sample_rate, noise, steps)
        reached = epsilon_of(releases, delta=delta)
    lines = [
        f"noise multiplier {noise:.6g}: epsilon {reached:.6g} at delta {delta:g}",
        *in_words(in_shares, sample_rate, noise, steps),
    ]
    _show(display, lines, noise_multiplier=noise, epsilon=reached, delta=delta)


def _calibrated(
    shares: Shares | None, target: float, sample_rate: float, steps: int, delta: float
) -> float:
    from securefl.privacy.accounting.calibration import calibrate_event, calibrate_noise

    if shares is None:
        return calibrate_noise(target, sample_rate, steps, delta)
    return calibrate_event(target, lambda noise: shares.event(noise, sample_rate), steps, delta)


@app.command()
def profile(
    noise_multiplier: Noise,
    steps: Steps,
    delta: Delta = 1e-5,
    sample_rate: Rate = 1.0,
    place: PlaceOption = Place.LOCAL,
    shares: SharesOption = None,
    contributing: ContributingOption = None,
    granularity: GranularityOption = None,
    dimension: DimensionOption = None,
    plot: Plot = None,
    display: Shown = None,
) -> None:
    """Delta at every epsilon, and a bound on what any attack can find."""
    in_shares = shares_of(place, shares, contributing, granularity, dimension)
    with _refusals_of_options():
        from securefl.privacy import privacy_profile
        from securefl.privacy.accounting.epsilon import epsilon as epsilon_of

        releases = releases_of(in_shares, sample_rate, noise_multiplier, steps)
        curve = privacy_profile(releases, delta=delta)
        at_delta = epsilon_of(releases, delta=delta)
    epsilons = [at_delta * share for share in SHARES_OF_EPSILON]
    deltas = {round(epsilon, 6): curve.delta(epsilon) for epsilon in epsilons}
    bounds = {rate: curve.most_true_positives(rate) for rate in FALSE_ALARM_RATES}
    lines = [f"epsilon {epsilon:8.4f}  delta {value:.3g}" for epsilon, value in deltas.items()]
    lines += [
        f"no attack finds more than {bound:.3g} of the members at {rate:g} false alarms"
        for rate, bound in bounds.items()
    ]
    lines += in_words(in_shares, sample_rate, noise_multiplier, steps)
    if plot is not None:
        from securefl.ui.figures import draw_profile

        with drawn(plot):
            draw_profile(plot, curve, largest_epsilon=1.5 * at_delta)
        lines.append(f"wrote {plot}")
    _show(display, lines, deltas=deltas, most_true_positives=bounds)


@app.command()
def clients(
    cohort: Cohort,
    of: Clients,
    noise_multiplier: NoiseOfClients,
    rounds: Rounds,
    delta: DeltaOfClients,
    display: Shown = None,
) -> None:
    """CLIENT level: epsilon of sums over cohorts, for parties that know the cohorts or do not."""
    with _refusals_of_options():
        from securefl.privacy import gaussian_epsilon
        from securefl.privacy.accounting import clients as level
        from securefl.privacy.accounting import crosscheck

        fixed = level.fixed_cohort_epsilon(cohort, of, noise_multiplier, rounds, delta)
        poisson = level.poisson_cohort_epsilon(cohort, of, noise_multiplier, rounds, delta)
        renyi = crosscheck.fixed_cohort_renyi(cohort, of, noise_multiplier, rounds, delta)
        # A party that knows the cohorts gets no amplification from the draw.
        seen = gaussian_epsilon(noise_multiplier, rounds, delta)
    lines = [
        f"against a party that does not learn who took part, at delta {delta:g}:",
        f"  cohorts of {cohort} drawn without replacement: epsilon {fixed:.6g} "
        f"(Rényi DP {renyi:.6g}); a client is",
        "    replaced, the noise multiplier is over twice the clip",
        f"  everyone joins with probability {cohort / of:g}: epsilon {poisson:.6g}; "
        "a client is added or",
        "    removed, the noise multiplier is over the clip",
        f"against the server, or another party that knows the cohorts: epsilon {seen:.6g}, "
        "for a client of all rounds",
        "a cohort that the server or a scenario's seed draws is known, and amplifies nothing;",
        '  cohort.sampling = "poisson" lets each client toss a coin that nobody else sees',
    ]
    _show(display, lines, fixed=fixed, poisson=poisson, renyi=renyi, seen=seen, delta=delta)


@contextmanager
def _refusals_of_options() -> Iterator[None]:
    """Turns a ValueError of the accountant into the refusal of an option."""
    try:
        yield
    except ValueError as reason:
        raise ScenarioError(str(reason)) from None


def _prv_in_words(epsilon: float | None, lower: float) -> str:
    """Says the answer of Opacus' accountant, which may be none, negative or provably too low."""
    if epsilon is None:
        return "cannot"
    if epsilon < 0:
        return "none"
    remark = ", which is too low" if epsilon < lower else ""
    return f"{epsilon:.6g}{remark}"


def _show(display: "Style | None", lines: list[str], **facts: Any) -> None:
    from securefl.ui.display import make_display

    make_display(display).line("\n".join(lines), **facts)
