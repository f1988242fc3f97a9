"""Name -> step of `data.harmonise`, and the application of record-local steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from securefl.data.harmonise.images import nyul, window, zscore
from securefl.data.task import Examples, FederatedData, Site

# Maps the features of any number of records, each by itself.
LocalStep = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StepEntry:
    """A step that a scenario can name.

    Args:
        apply: (features, **parameters) -> features, each record by itself; None where the step
            needs a fit.
        fitted: whether the step rests on statistics of many records. Such a step is fitted and
            applied when the parts of a run are put together, after all record-local steps.
    """

    apply: Callable[..., Tensor] | None = None
    fitted: bool = False


STEPS: Mapping[str, StepEntry] = {
    "window": StepEntry(apply=window),
    "zscore": StepEntry(apply=zscore),
    "nyul": StepEntry(apply=nyul),
    "standardise": StepEntry(fitted=True),
    "combat": StepEntry(fitted=True),
}


def harmonised(examples: Examples, steps: Sequence[LocalStep]) -> Examples:
    """Returns the same records after record-local steps, in their order."""
    features = examples.features
    for step in steps:
        features = step(features)
    return Examples(features, examples.labels)


def all_harmonised(data: FederatedData, steps: Sequence[LocalStep]) -> FederatedData:
    """Returns the same sites, with training and test records after record-local steps."""
    if not steps:
        return data
    sites = tuple(_site(site, steps) for site in data.sites)
    return replace(data, sites=sites, test=harmonised(data.test, steps))


def _site(site: Site, steps: Sequence[LocalStep]) -> Site:
    test = None if site.test is None else harmonised(site.test, steps)
    return Site(site.name, harmonised(site.train, steps), test)
