"""What a channel that chooses the clients of its sum does, in words."""

from collections.abc import Iterator

from securefl.scenario.facts import Facts
from securefl.scenario.sketches import numbers_of


def sketch_words(facts: Facts) -> Iterator[str]:
    """Yields how many clients are chosen, and what the choice withstands; nothing without one."""
    if facts.selection is None:
        return
    options, rule = facts.channel_options, facts.rule.name
    liars, corrupt = facts.selection.liars, options["corrupt"]
    n, chosen, least, away = numbers_of(facts)
    yield (
        f"channel.sketch = {options['sketch']}: by distances between sketches {rule} chooses "
        f"{chosen} of {n} clients, whose sum opens; never fewer than {least}"
    )
    yield (
        f"withstands {_clients(liars, 'lie')} to a server that keeps to the protocol, and "
        f"{_clients(corrupt, 'work')} together with one that does not, never both at once; "
        f"{away} more may be away"
    )


def _clients(number: int, verb: str) -> str:
    return f"{number} client that {verb}s" if number == 1 else f"{number} clients that {verb}"
