"""Figures: the only file that draws with matplotlib."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no window, and no display needed

import numpy as np
from matplotlib import pyplot as plt

from securefl.privacy.accounting.profile import Profile


def draw_profile(path: Path, profile: Profile, largest_epsilon: float) -> None:
    """Draws delta over epsilon, and the bound on an attack's hits over its false alarms.

    Args:
        path: the file; its suffix chooses the format.
        profile: the privacy profile of some releases.
        largest_epsilon: end of the left axis.

    Raises:
        OSError: the file cannot be written.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    epsilons = np.linspace(0, largest_epsilon, 200)
    left.semilogy(epsilons, profile.deltas(epsilons))
    left.set(xlabel="epsilon", ylabel="delta", title="privacy profile")

    rates = np.logspace(-5, 0, 100)
    right.loglog(rates, [profile.most_true_positives(rate) for rate in rates])
    right.loglog(rates, rates, linestyle=":", color="grey")
    right.set(xlabel="false positives", ylabel="true positives")
    right.set(title="the most that any attack finds")
    try:
        figure.savefig(path)
    finally:
        plt.close(figure)
