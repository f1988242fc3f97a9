"""What a round notes about clients that are in no row."""

import torch

from securefl.channels.protocol import UNWATCHED, View
from securefl.errors import RoundAbandoned
from securefl.federation.log import RoundLog
from securefl.federation.record import BARRED

VIEW = View(
    torch.zeros(1, 2),
    torch.ones(1),
    ((0, 1),),
    left_out=(2,),
    named={3: "its sketch is another"},
    paired=((4, 5),),
)


def test_whoever_is_in_no_row_is_absent_with_the_reason_for_it() -> None:
    log = RoundLog(UNWATCHED, absent={6: "dropped"})
    log.note_lost(tuple(range(8)), VIEW)
    lost = "lost with its block, of which too few were left"
    # Clients that were not chosen, or found lying in this round, are noted as such.
    assert log.absent == {4: lost, 5: lost, 6: "dropped", 7: lost}


def test_where_there_are_groups_a_client_is_lost_with_its_group() -> None:
    log = RoundLog(UNWATCHED, absent={6: "dropped"})
    log.note_lost(tuple(range(7)), VIEW, grouped=True)
    lost = "lost with its group, of which too few were left"
    assert log.absent == {4: lost, 5: lost, 6: "dropped"}


def test_clients_found_lying_in_earlier_rounds_are_absent_for_that() -> None:
    log = RoundLog(UNWATCHED, absent={6: "its message was dropped", 7: "its message was dropped"})
    log.note_choice(VIEW)
    log.note_barred(tuple(range(8)), {3: "its sketch is another", 7: "contradicted", 9: "away"})
    assert log.absent == {6: "its message was dropped", 7: f"{BARRED}contradicted"}


def test_a_choice_and_its_liars_are_noted() -> None:
    log = RoundLog(UNWATCHED)
    log.note_choice(VIEW)
    assert (log.left_out, log.named, log.paired) == (
        (2,),
        {3: "its sketch is another"},
        ((4, 5),),
    )


def test_an_abandoned_round_notes_who_was_found_lying() -> None:
    log = RoundLog(UNWATCHED)
    log.abandon(RoundAbandoned("the sum is another", named={1: "why"}, paired=((2, 3),)))
    assert (log.reason, log.named, log.paired) == ("the sum is another", {1: "why"}, ((2, 3),))


def test_an_abandoned_round_that_names_nobody_can_be_written_down() -> None:
    log = RoundLog(UNWATCHED)
    log.abandon(RoundAbandoned("too few clients"))
    record = log.record(0, (0, 1), quality=None, ledger_heads={}, seconds=0.0)
    assert record.to_json()["reason"] == "too few clients"
    assert not {"named", "paired", "left_out"} & record.to_json().keys()
