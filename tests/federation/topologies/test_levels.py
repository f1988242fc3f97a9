"""The record of a round on two levels is in terms of clients."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.federation.record import RoundRecord
from securefl.federation.topologies.levels import of_both_levels
from securefl.federation.values import Federation, Played, State
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario

TEXT = """
data = { name = "heart" }
training = { kind = "sgd" }
topology = { kind = "hierarchical", regions = [[0, 1], [2, 3]] }
"""
WHOLE = RoundRecord(
    round=5,
    abandoned=False,
    reason="",
    cohort=(0, 1),
    survivors=(0, 1),
    absent={},
    screened=(),
    rejected=0,
    bytes_up=0,
    bytes_down=0,
    accuracy=0.5,
    ledger_heads={},
    seconds=1.0,
)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return assemble(parse_scenario(TEXT), run="", ledgers=tmp_path).federation


def played(record: RoundRecord, out_of_budget: frozenset[int] = frozenset()) -> Played:
    return Played(State(torch.zeros(1)), record, out_of_budget, ())


def inside(clients: tuple[int, ...], **fields: Any) -> Played:
    fields = {"cohort": clients, "survivors": clients, "accuracy": None} | fields
    return played(replace(WHOLE, evaluated=False, **fields))


def merged(
    federation: Federation, top: RoundRecord, first: Sequence[Played], second: Sequence[Played]
) -> RoundRecord:
    return of_both_levels(federation, played(top), {0: first, 1: second}).record


def test_numbers_of_messages_are_those_of_both_levels(federation: Federation) -> None:
    top = replace(WHOLE, rejected=1, bytes_up=10, bytes_down=100)
    counts = {"rejected": 2, "bytes_up": 20, "bytes_down": 200}
    record = merged(
        federation, top, [inside((0, 1), **counts)] * 2, [inside((2, 3), **counts), inside((2, 3))]
    )
    assert (record.rejected, record.bytes_up, record.bytes_down) == (7, 70, 700)
    assert (record.round, record.accuracy, record.seconds) == (5, 0.5, 1.0)
    assert record.cohort == record.survivors == (0, 1, 2, 3)


def test_pushes_are_averaged_and_distrusted_clients_are_those_of_any_inner_round(
    federation: Federation,
) -> None:
    first = [inside((0, 1), push=2.0, distrusted=(1,)), inside((0, 1), push=4.0, distrusted=())]
    record = merged(federation, WHOLE, first, [inside((2, 3))] * 2)
    assert record.push == 3.0
    assert record.distrusted == (1,)
    record = merged(federation, WHOLE, [inside((0, 1))], [inside((2, 3))])
    assert (record.push, record.distrusted) == (None, None)
    record = merged(federation, WHOLE, [inside((0, 1), distrusted=())], [inside((2, 3))])
    assert record.distrusted == ()


def test_a_region_that_the_top_sets_aside_is_set_aside_with_its_clients(
    federation: Federation,
) -> None:
    first = [inside((0, 1), screened=(1,))]
    record = merged(federation, replace(WHOLE, screened=(1,)), first, [inside((2, 3))])
    assert record.screened == (1, 2, 3)
    assert record.survivors == (0, 1, 2, 3)


def test_what_a_region_screened_counts_only_where_its_row_arrived(federation: Federation) -> None:
    second = [inside((2, 3), screened=(2,))]
    top = replace(WHOLE, survivors=(0,), absent={1: "its message was dropped"})
    record = merged(federation, top, [inside((0, 1))], second)
    assert (record.survivors, record.screened) == ((0, 1), ())


def test_clients_without_budget_are_those_of_all_inner_rounds(federation: Federation) -> None:
    first = [replace(inside((0, 1)), out_of_budget=frozenset({1})), inside((0, 1))]
    second = [inside((2, 3)), replace(inside((2, 3)), out_of_budget=frozenset({2}))]
    whole = of_both_levels(federation, played(WHOLE), {0: first, 1: second})
    assert whole.out_of_budget == {1, 2}
