"""Privacy: what a release costs, who may still spend, and the noise that pays for it."""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.privacy.accounting.calibration import calibrate_noise
    from securefl.privacy.accounting.clients import fixed_cohort_epsilon, poisson_cohort_epsilon
    from securefl.privacy.accounting.epsilon import gaussian_epsilon, subsampled_gaussian_epsilon
    from securefl.privacy.accounting.profile import Profile, privacy_profile
    from securefl.privacy.accounting.shares import discrete_gaussian_epsilon, effective_sigma

__all__ = [
    "Profile",
    "calibrate_noise",
    "discrete_gaussian_epsilon",
    "effective_sigma",
    "fixed_cohort_epsilon",
    "gaussian_epsilon",
    "poisson_cohort_epsilon",
    "privacy_profile",
    "subsampled_gaussian_epsilon",
]

_HOMES = {
    "Profile": "securefl.privacy.accounting.profile",
    "calibrate_noise": "securefl.privacy.accounting.calibration",
    "discrete_gaussian_epsilon": "securefl.privacy.accounting.shares",
    "effective_sigma": "securefl.privacy.accounting.shares",
    "fixed_cohort_epsilon": "securefl.privacy.accounting.clients",
    "gaussian_epsilon": "securefl.privacy.accounting.epsilon",
    "poisson_cohort_epsilon": "securefl.privacy.accounting.clients",
    "privacy_profile": "securefl.privacy.accounting.profile",
    "subsampled_gaussian_epsilon": "securefl.privacy.accounting.epsilon",
}

__getattr__ = door(__name__, _HOMES)
