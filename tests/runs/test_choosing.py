"""Whom a channel left out over a run: counted by hand, in numbers and in sentences."""

from dataclasses import replace

from securefl.federation.record import RoundRecord
from securefl.runs.choosing import choosing, choosing_words
from tests.runs.test_aftermath import record

LOST = replace(record(0.5), abandoned=True, reason="the check", survivors=())
ROUNDS: list[RoundRecord] = [
    replace(record(0.5), left_out=(2, 10), paired=((0, 1),)),
    replace(LOST, left_out=(2,), named={3: "its sketch is another"}, paired=((4, 5),)),
    replace(record(0.5), left_out=(10,), named={7: "contradicted"}),
]


def test_clients_that_were_not_chosen_are_counted_and_lies_are_kept_with_their_reason() -> None:
    found = choosing(ROUNDS, (0, 2, 3, 7, 10))
    assert found == {
        "not_chosen": {"0": 0, "2": 1, "3": 0, "7": 0, "10": 2},
        "not_compared": {},
        "named": {"3": "its sketch is another", "7": "contradicted"},
        # A pair of a round with a result is left out of that round only.
        "paired": [[4, 5]],
    }


def test_the_words_begin_with_whoever_was_left_out_most() -> None:
    assert choosing_words(choosing(ROUNDS, (0, 2, 3, 7, 10))) == [
        "the rule left out: client 10 2 x, client 2 1 x",
        "client 3 was found lying and took no further part: its sketch is another",
        "client 7 was found lying and took no further part: contradicted",
        "client 4 or client 5 lied; neither was chosen again",
    ]


def test_nothing_is_said_where_nobody_was_left_out() -> None:
    assert choosing_words({}) == []
    assert choosing_words(choosing([record(0.5)], (0, 1))) == []


def test_clients_that_were_never_shown_to_the_rule_are_counted_apart() -> None:
    found = choosing(
        [
            # A pair of a round with a result; client 2 was compared.
            replace(record(0.5), left_out=(0, 1, 2), paired=((0, 1),)),
            replace(record(0.5), left_out=(0,)),  # free again, and compared
            replace(LOST, paired=((4, 5),)),
            replace(record(0.5), left_out=(2, 4, 5)),
            # Client 5 was proven to lie, and client 4 is free again.
            replace(LOST, named={5: "its sketch is another"}),
            replace(record(0.5), left_out=(4,)),
        ],
        range(6),
    )
    assert found["not_chosen"] == {"0": 1, "1": 0, "2": 2, "3": 0, "4": 1, "5": 0}
    assert found["not_compared"] == {"0": 1, "1": 1, "4": 1, "5": 1}
    assert choosing_words(found)[:2] == [
        "the rule left out: client 2 2 x, client 0 1 x, client 4 1 x",
        "left out of the sum in pairs of which one lied: client 0 1 x, client 1 1 x, client 4 1 x, "
        "client 5 1 x",
    ]
