"""Everything that updates reveal of the records behind them, by the attacks a sight allows."""

from collections.abc import Callable, Iterator

from securefl.audit.exposure.labels import labels
from securefl.audit.exposure.look import Look
from securefl.audit.exposure.properties import property_of
from securefl.audit.exposure.reconstruction import NOTHING_MOVES, implanted, reconstructions
from securefl.audit.exposure.result import Exposure
from securefl.audit.exposure.sources import source
from securefl.audit.inquiry import OnRound
from securefl.audit.repertoire import EXPOSED, LABELS, PROPERTY
from securefl.privacy.remember import Remember

Say = Callable[[str], None]
NO_SIGHT = Exposure(EXPOSED, "this adversary sees no update, no sum and no step")
NO_STEPS = Exposure(EXPOSED, "not tried: it is made for updates of several local steps")
UNKNOWN_WEIGHTS = "what is seen is no sum of updates by weights that are known"


def exposures(look: Look, *, say: Say, on_round: OnRound, remember: Remember) -> list[Exposure]:
    """Returns what each attack finds in the first rounds.

    Args:
        look: the rounds as the adversary sees them.
        say: is given progress in words.
        on_round: called with the record of each round of a further replay.
        remember: caches expensive results.
    """
    say("reconstruction (seconds for one image, a minute or two for sixteen)")
    results = list(reconstructions(look))
    say("labels, a property, sources")
    results.extend(attributes(look))
    if look.inquiry.threat.deviates:
        say("an imprint before the model")
        results.append(implanted(look, on_round=on_round, remember=remember))
    return results


def attributes(look: Look) -> Iterator[Exposure]:
    """Yields what updates reveal of labels, of a property and of sources."""
    update = look.update
    if update is None:
        yield Exposure(LABELS, NOTHING_MOVES)
    elif update.counts is None:
        # Counting labels divides by the weights: without these a sum says nothing about counts.
        yield Exposure(LABELS, UNKNOWN_WEIGHTS)
        yield Exposure(PROPERTY, UNKNOWN_WEIGHTS)
    else:
        yield labels(look, update, update.counts)
        yield property_of(look, update, update.counts)
    yield source(look)
