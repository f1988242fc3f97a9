"""What follows from a declaration: numbers of clients, and public numbers of records."""

import pytest

from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.scenario.texts import digits


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", (200, 173, 31, 86)),
        ('data = { partition = "halves" }', (100, 100, 87, 86, 16, 15, 44, 42)),
        ('data = { partition = "pooled" }', (490,)),
        ("data = { only = 1 }", (173,)),
        (digits("clients = 4"), (315, 314, 314, 314)),
        (digits('partition = "pooled"'), (1257,)),
        (digits("only = 9"), (125,)),
        (
            "privacy = { records = [9, 8, 7, 6] }",
            (9, 8, 7, 6),
        ),  # what is declared counts, whatever is there
    ],
)
def test_the_public_sizes_are_those_declared_or_published(
    text: str, sizes: tuple[int, ...]
) -> None:
    scenario = parse_scenario(text)
    assert scenario.site_records == sizes
    assert scenario.clients == scenario.cohort_size == len(sizes)


def test_a_partition_that_is_drawn_has_no_public_sizes_unless_they_are_declared() -> None:
    with pytest.raises(
        ScenarioError, match=r"partition .quantity. has no published sizes"
    ) as refused:
        _ = parse_scenario(digits('partition = "quantity"') + 'weights = "equal"').site_records
    assert refused.value.exit_code == 2
    declared = parse_scenario(
        'data = { partition = "quantity", clients = 2 }\nprivacy = { records = [400, 90] }'
    )
    assert declared.site_records == (400, 90)


def test_a_hospital_held_out_is_no_client_and_its_records_are_not_counted() -> None:
    scenario = parse_scenario("data = { held_out = 1 }")
    assert (scenario.clients, scenario.site_records) == (3, (200, 31, 86))
    assert parse_scenario('data = { held_out = 1, partition = "pooled" }').site_records == (317,)
    assert parse_scenario('data = { held_out = 1, partition = "pooled" }').clients == 1
    assert parse_scenario("data = { held_out = 1, only = 2 }").site_records == (31,)
    assert Scenario.model_validate(scenario.resolved()).resolved() == scenario.resolved()
