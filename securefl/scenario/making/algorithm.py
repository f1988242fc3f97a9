"""The algorithm of a scenario and the schedule of its learning rate."""

from securefl.learning.algorithms.client_level import AdaptiveClientLevel, ClientLevel
from securefl.learning.algorithms.protocol import Algorithm, Terms
from securefl.learning.options import Schedule
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.making.keys import with_keys
from securefl.scenario.training_table import Training


def algorithm_of(declared: Declaration, terms: Terms) -> Algorithm:
    """Returns both halves of the algorithm, with its hyper-parameters set.

    Raises:
        ValueError: it needs public weights, and clients report theirs.
    """
    training = declared.training
    if declared.protects_clients:
        return _of_clients(training, terms)
    entry = catalog.ALGORITHMS[training.algorithm or catalog.DEFAULT_ALGORITHM]
    # Where clients take no steps of their own, nothing can be added to them.
    of_sums = catalog.TRAINERS[training.kind].server
    make = with_keys(of_sums or entry.make, training.model_dump(exclude_none=True))
    algorithm: Algorithm = make(terms)
    return algorithm


def _of_clients(training: Training, terms: Terms) -> Algorithm:
    """Returns both halves where updates are protected as a whole."""
    given = training.model_dump(exclude_none=True)
    make = AdaptiveClientLevel if training.clip_quantile is not None else ClientLevel
    algorithm: Algorithm = with_keys(make, given)(terms)
    return algorithm


def schedule_of(declared: Declaration, *, trainings: int) -> Schedule:
    """Returns a training's number -> factor of the learning rate.

    Args:
        declared: names the schedule.
        trainings: how often one client trains at most; as often as there are rounds, usually.
    """
    training = declared.training
    entry = catalog.SCHEDULES[training.schedule or catalog.DEFAULT_SCHEDULE]
    given = {**training.model_dump(exclude_none=True), "rounds": trainings}
    return with_keys(entry.function, given)
