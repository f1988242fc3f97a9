"""Source inference: clients are compared that were seen by themselves in the same rounds."""

from securefl.audit.exposure.sources import source
from tests.audit.exposure.subjects import look


def test_one_client_seen_by_itself_is_no_choice() -> None:
    exposure = source(look("clients", "rounds=1", colluders=3))
    assert exposure.measured is None
    assert exposure.why == "needs the updates of two clients or more in a round, each by itself"


def test_sources_are_compared_within_rounds() -> None:
    """Cohorts are two of four clients: only a pair that was seen together is compared."""
    subject = look("server", "cohort.size=2", "data.most=30")
    rounds: dict[int, set[int]] = {}
    for client, knowledge in subject.knowledge.items():
        for sight in knowledge.moves:
            rounds.setdefault(sight.round, set()).add(client)
    assert {len(clients) for clients in rounds.values()} == {2}
    exposure = source(subject)
    assert exposure.guessing == 0.5
    assert exposure.why.startswith("whose of 2 clients a training record is, 40 records asked, by ")
