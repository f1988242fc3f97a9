"""One stage: how many clients train at once, and in which order they settle."""

from collections.abc import Iterator

from securefl.errors import ClientFailure
from securefl.federation.stages import Asked, drawn_ahead

FAILURE = ClientFailure("it is away")


def asked(pattern: str) -> list[Asked]:
    """One client a letter: t trains, r has replied, f has failed."""
    kinds = {"t": (None, None), "r": (b"reply", None), "f": (None, FAILURE)}
    return [Asked(client, *kinds[letter]) for client, letter in enumerate(pattern)]


def training_when_settled(pattern: str, size: int) -> list[int]:
    """For each client that settles after training: how many train at that moment, it included."""
    drawn: list[Asked] = []

    def requests() -> Iterator[Asked]:
        for one in asked(pattern):
            drawn.append(one)
            yield one

    settled: list[int] = []
    numbers: list[int] = []
    for one in drawn_ahead(requests(), size):
        if one.works:
            numbers.append(sum(other.works for other in drawn) - len(numbers))
        settled.append(one.client)
    assert settled == list(range(len(pattern)))
    return numbers


def test_as_many_train_as_may_until_the_stage_ends_whoever_fails_between() -> None:
    assert training_when_settled("tttttt", 3) == [3, 3, 3, 3, 2, 1]
    assert training_when_settled("tfftrtfttf", 3) == [3, 3, 3, 2, 1]
    assert training_when_settled("fffft", 3) == [1]
    assert training_when_settled("tttt", 1) == [1, 1, 1, 1]


def test_what_does_not_train_waits_for_nobody_behind_it() -> None:
    requests = iter(asked("rft"))
    settled = drawn_ahead(requests, 8)
    assert next(settled).client == 0
    assert next(requests).client == 1  # not drawn yet
