"""The lines in which a valid scenario says what it will do."""

import pytest

from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary


def remarks(text: str) -> list[str]:
    """Returns the lines on the batch."""
    lines = summary(parse_scenario(text)).splitlines()
    return [line for line in lines if line.startswith("training.batch")]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            "training = { batch = 32 }",
            "training.batch = 32 is above the 31 records of client 2: a step takes all of them",
        ),
        (
            "training = { batch = 100 }",
            "training.batch = 100 is above the 31 records of client 2 and others: "
            "a step takes all of them",
        ),
        (
            "training = { batch = 9 }\nprivacy = { records = [9, 8, 9, 9] }",
            "training.batch = 9 is above the 8 records of client 1: a step takes all of them",
        ),
    ],
)
def test_a_batch_above_the_public_records_of_a_client_gets_a_remark(keys: str, line: str) -> None:
    assert remarks(keys) == [line]


@pytest.mark.parametrize(
    "text",
    [
        "training = { batch = 31 }",
        # Sizes that are drawn are not public, and no remark may depend on them.
        'weights = "equal"\ntraining = { kind = "sgd", batch = 9999 }\n'
        'data = { partition = "dirichlet" }\n',
    ],
)
def test_a_batch_that_fits_or_has_no_public_size_to_exceed_gets_none(text: str) -> None:
    assert remarks(text) == []


def test_prefilters_and_the_rule_are_named_in_their_order_with_their_parameters() -> None:
    text = """
    [defense]
    prefilters = [{ name = "clip_norms", radius = 2.0 }, { name = "adaptive_clipping", f = 1 }]
    rule = "median"
    """
    assert (
        "clip_norms (radius=2.0), then adaptive_clipping (f=1), then rule median, "
        "all rows count the same (weights declared are not used), server fedavg"
    ) in summary(parse_scenario(text)).splitlines()
