"""securefl privacy: the accountant as a calculator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from securefl.errors import ScenarioError
from securefl.ui.styles import Style

if TYPE_CHECKING:
    from securefl.privacy.accounting.profile import Profile
    from securefl.privacy.events import SampledGaussian

app = typer.Typer(
    help="Epsilon, noise and privacy profile of Gaussian releases.", no_args_is_help=True
)

Rate = Annotated[
    float, typer.Option("--sample-rate", help="Probability of a record to be in a step, in (0, 1].")
]
Noise = Annotated[
    float, typer.Option("--noise-multiplier", help="Deviation of the noise over the clip.")
]
Steps = Annotated[int, typer.Option("--steps", help="Noisy steps in all: rounds x steps a round.")]
Delta = Annotated[float, typer.Option("--delta", help="In (0, 1), well below 1 / records.")]
Target = Annotated[float, typer.Option("--epsilon", help="The target.")]
Shown = Annotated[
    Style | None, typer.Option("--display", help="Default: rich on a terminal, plain elsewhere.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw both curves into this file (.svg, .png or .pdf)."),
]
RATES = (0.001, 0.01, 0.1)


@app.command()
def epsilon(
    noise_multiplier: Noise,
    steps: Steps,
    delta: Delta,
    sample_rate: Rate = 1.0,
    display: Shown = None,
) -> None:
    """Epsilon of some noisy steps, with other accountants beside it."""
    with _usage():
        from securefl.privacy.accounting import crosscheck
        from securefl.privacy.accounting.epsilon import bounds

        segments = _segments(sample_rate, noise_multiplier, steps)
        lower, upper = bounds(segments, delta=delta)
        renyi = crosscheck.renyi_epsilon(segments, delta=delta)
        prv = crosscheck.prv_epsilon(segments, delta=delta) if noise_multiplier > 0 else None
    same = " (the epsilon above)" if renyi == upper else ""
    surely = f"surely not below {lower:.6g}" if lower or not upper else "no lower end was found"
    told = [
        f"epsilon {upper:.6g} at delta {delta:g} ({surely})",
        _assumed(sample_rate, noise_multiplier, steps),
        f"cross-checks: Rényi DP {renyi:.6g}{same}, Opacus PRV {_prv(prv, lower)}",
    ]
    _show(display, told, epsilon=upper, lower=lower, delta=delta, renyi=renyi, prv=prv)


@app.command()
def calibrate(
    target: Target, steps: Steps, delta: Delta, sample_rate: Rate = 1.0, display: Shown = None
) -> None:
    """The noise multiplier that a target epsilon needs."""
    with _usage():
        from securefl.privacy import calibrate_noise, subsampled_gaussian_epsilon

        noise = calibrate_noise(target, sample_rate, steps, delta)
        reached = subsampled_gaussian_epsilon(sample_rate, noise, steps, delta)
    told = [
        f"noise multiplier {noise:.6g}: epsilon {reached:.6g} at delta {delta:g}",
        _assumed(sample_rate, noise, steps),
    ]
    _show(display, told, noise_multiplier=noise, epsilon=reached, delta=delta)


@app.command()
def profile(
    noise_multiplier: Noise,
    steps: Steps,
    delta: Delta = 1e-5,
    sample_rate: Rate = 1.0,
    plot: Plot = None,
    display: Shown = None,
) -> None:
    """Delta at every epsilon, and the most that any attack can find."""
    with _usage():
        from securefl.privacy import privacy_profile, subsampled_gaussian_epsilon

        found = privacy_profile(_segments(sample_rate, noise_multiplier, steps), delta=delta)
        at = subsampled_gaussian_epsilon(sample_rate, noise_multiplier, steps, delta)
    deltas = {
        round(at * share, 6): found.delta(at * share) for share in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    }
    finds = {rate: found.most_true_positives(rate) for rate in RATES}
    told = [
        *(f"epsilon {epsilon:8.4f}  delta {value:.3g}" for epsilon, value in deltas.items()),
        *(
            f"no attack finds more than {found:.3g} of the members at {rate:g} false alarms"
            for rate, found in finds.items()
        ),
        _assumed(sample_rate, noise_multiplier, steps),
    ]
    if plot is not None:
        if plot.suffix not in (".svg", ".png", ".pdf"):
            raise ScenarioError(f"--plot takes a file that ends in .svg, .png or .pdf, got {plot}")
        _draw(plot, found, 1.5 * at)
        told.append(f"wrote {plot}")
    _show(display, told, deltas=deltas, most_true_positives=finds)


@app.command()
def clients(
    cohort: Annotated[int, typer.Option("--cohort", help="Clients in a round.")],
    of: Annotated[int, typer.Option("--clients", help="Clients of the federation.")],
    noise_multiplier: Annotated[
        float,
        typer.Option(
            "--noise-multiplier", help="Deviation of the noise over what one client can change."
        ),
    ],
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds in all.")],
    delta: Annotated[float, typer.Option("--delta", help="In (0, 1), well below 1 / clients.")],
    display: Shown = None,
) -> None:
    """CLIENT level: epsilon of sums over cohorts of clients, for who learns the cohorts and who does not."""
    with _usage():
        from securefl.privacy import gaussian_epsilon
        from securefl.privacy.accounting import clients as level
        from securefl.privacy.accounting import crosscheck

        fixed = level.fixed_cohort_epsilon(cohort, of, noise_multiplier, rounds, delta)
        poisson = level.poisson_cohort_epsilon(cohort, of, noise_multiplier, rounds, delta)
        renyi = crosscheck.fixed_cohort_renyi(cohort, of, noise_multiplier, rounds, delta)
        seen = gaussian_epsilon(noise_multiplier, rounds, delta)
    told = [
        f"against whoever does not learn who took part, at delta {delta:g}:",
        f"  cohorts of {cohort} drawn without replacement: epsilon {fixed:.6g} (Rényi DP {renyi:.6g}); a client is",
        "    replaced, the noise multiplier is over twice the clip",
        f"  everyone joins with probability {cohort / of:g}: epsilon {poisson:.6g}; a client is added or",
        "    removed, the noise multiplier is over the clip",
        f"against the server, or whoever else knows the cohorts: epsilon {seen:.6g}, for a client of all rounds",
        "scenarios draw cohorts from their seed, which is no secret: none of their claims counts on it",
    ]
    _show(display, told, fixed=fixed, poisson=poisson, renyi=renyi, seen=seen, delta=delta)


@contextmanager
def _usage() -> Iterator[None]:
    """What the accountant refuses is a wrong option."""
    try:
        yield
    except ValueError as reason:
        raise ScenarioError(str(reason)) from None


def _prv(epsilon: float | None, lower: float) -> str:
    """What Opacus' accountant says; it may have no number, a negative one, or one below a proven lower end."""
    if epsilon is None:
        return "cannot"
    if epsilon < 0:
        return "none"
    return f"{epsilon:.6g}, which is too low" if epsilon < lower else f"{epsilon:.6g}"


def _segments(
    sample_rate: float, noise_multiplier: float, steps: int
) -> "dict[SampledGaussian, int]":
    from securefl.privacy.events import SampledGaussian

    return {SampledGaussian(sample_rate, noise_multiplier, steps): 1}


def _assumed(sample_rate: float, noise_multiplier: float, steps: int) -> str:
    drawn = (
        f"each over a Poisson sample at rate {sample_rate:g}"
        if sample_rate < 1
        else "each over all records"
    )
    return f"{steps} Gaussian releases at noise multiplier {noise_multiplier:g}, {drawn}; a record added or removed"


def _show(display: Style | None, told: list[str], **facts: Any) -> None:
    from securefl.ui.display import make_display

    make_display(display).line("\n".join(told), **facts)


def _draw(path: Path, profile: "Profile", end: float) -> None:
    """Delta over epsilon, and the bound on an attack's hits over its false alarms."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    epsilons = np.linspace(0, end, 200)
    left.semilogy(epsilons, profile.deltas(epsilons))
    left.set(xlabel="epsilon", ylabel="delta", title="privacy profile")
    rates = np.logspace(-5, 0, 100)
    right.loglog(rates, [profile.most_true_positives(rate) for rate in rates])
    right.loglog(rates, rates, linestyle=":", color="grey")
    right.set(
        xlabel="false positives", ylabel="true positives", title="the most that any attack finds"
    )
    try:
        figure.savefig(path)
    except OSError as reason:
        raise ScenarioError(f"cannot write {path}: {reason.strerror}") from None
    finally:
        plt.close(figure)
