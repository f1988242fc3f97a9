"""Privacy: what a release costs, who may still spend, and the noise that pays for it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securefl.privacy.accounting.calibration import calibrate_noise
    from securefl.privacy.accounting.clients import fixed_cohort_epsilon, poisson_cohort_epsilon
    from securefl.privacy.accounting.epsilon import gaussian_epsilon, subsampled_gaussian_epsilon
    from securefl.privacy.accounting.profile import Profile, privacy_profile

__all__ = [
    "Profile",
    "calibrate_noise",
    "fixed_cohort_epsilon",
    "gaussian_epsilon",
    "poisson_cohort_epsilon",
    "privacy_profile",
    "subsampled_gaussian_epsilon",
]

_HOMES = {
    "Profile": "securefl.privacy.accounting.profile",
    "calibrate_noise": "securefl.privacy.accounting.calibration",
    "fixed_cohort_epsilon": "securefl.privacy.accounting.clients",
    "gaussian_epsilon": "securefl.privacy.accounting.epsilon",
    "poisson_cohort_epsilon": "securefl.privacy.accounting.clients",
    "privacy_profile": "securefl.privacy.accounting.profile",
    "subsampled_gaussian_epsilon": "securefl.privacy.accounting.epsilon",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before: dp-accounting takes a second."""
    if name not in _HOMES:
        raise AttributeError(f"module 'securefl.privacy' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
