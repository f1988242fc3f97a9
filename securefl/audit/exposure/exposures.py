"""What updates show of the records behind them: every attack that the adversary's sight allows."""

from collections.abc import Callable, Iterator

from securefl.audit.exposure.labels import labels
from securefl.audit.exposure.look import ROUNDS, Look, look_at
from securefl.audit.exposure.properties import property_of
from securefl.audit.exposure.reconstruction import implanted, reconstructions
from securefl.audit.exposure.result import Exposure
from securefl.audit.exposure.sources import source
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.privacy.remember import Remember

Say = Callable[[str], None]
_UNSUMMED = "what is seen is no sum of updates by weights that are known"


def exposed(inquiry: Inquiry, say: Say, on_round: OnRound, remember: Remember) -> list[Exposure]:
    """What the updates of the first rounds show of the records behind them."""
    if inquiry.blind or not inquiry.threat.parties(inquiry.coalition):
        return [Exposure("what updates show", "this adversary sees no update, no sum and no step")]
    say(f"what updates show: the first {min(ROUNDS, inquiry.scenario.rounds)} rounds again")
    look = look_at(inquiry, on_round=on_round, remember=remember)
    say("reconstruction (seconds for one image, a minute or two for sixteen)")
    found = list(reconstructions(look))
    say("labels, a property, sources")
    found.extend(attributes(look))
    if inquiry.threat.deviates:
        say("an imprint before the model")
        found.append(implanted(look, on_round=on_round, remember=remember))
    return found


def attributes(look: Look) -> Iterator[Exposure]:
    """What updates tell of labels, of a property and of sources."""
    update = look.update
    if update is None:
        yield Exposure("labels", "nothing that is seen moves with the target's update")
    elif update.counts is None:
        yield from (Exposure(name, _UNSUMMED) for name in ("labels", "property"))
    else:
        yield labels(look, update, update.counts)
        yield property_of(look, update, update.counts)
    yield source(look)
