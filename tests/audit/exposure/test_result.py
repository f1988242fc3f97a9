"""Exposures: the mark of a finding, the table, and the way to disk and back."""

import pytest

from securefl.audit.exposure.result import Exposure, exposure_lines


def test_the_table_names_attacks_that_were_not_measured() -> None:
    lines = list(
        exposure_lines(
            [
                Exposure("labels", "of four records", "share", 0.75, 0.5, error=0.25),
                Exposure("images", "of two", "dB", 31.26, 18.44),
                Exposure("source", "needs two clients"),
            ]
        )
    )
    assert lines == [
        "what updates show  measured      by guessing  finding",
        "labels             75%           50%          no",
        "images             31.3 dB       18.4 dB      yes",
        "source             not measured",
        "labels: of four records",
        "images: of two",
        "source: needs two clients",
        "what an attack does not find here is no evidence for an epsilon: "
        "another attack may find it",
    ]


@pytest.mark.parametrize(
    ("exposure", "finding"),
    [
        (Exposure("a", "", "share", 0.75, 0.5, error=0.1), True),
        (Exposure("a", "", "share", 0.75, 0.5, error=0.125), False),  # two standard errors, no more
        (Exposure("a", "", "share", 0.25, 0.5, error=0.01), False),
        (Exposure("a", "", "dB", 22.9, 20.0, error=0.1), False),
        (Exposure("a", "", "dB", 23.1, 20.0, error=0.1), True),
        (Exposure("a", "", "dB", 23.1, 20.0, error=1.6), False),
        (Exposure("a", "", "dB", 35.1, 18.2), True),  # a single record
        (Exposure("a", "nothing is seen"), False),
    ],
)
def test_better_than_guessing_beyond_its_error_is_a_finding(
    exposure: Exposure, finding: bool
) -> None:
    assert exposure.is_finding is finding


@pytest.mark.parametrize(
    "exposure",
    [
        Exposure("labels", "of four records", "share", 0.75, 0.5, error=0.25),
        Exposure("images", "of one", "dB", 31.26, 18.44),
        Exposure("source", "needs two clients"),
    ],
)
def test_an_exposure_comes_back_from_json(exposure: Exposure) -> None:
    assert Exposure.from_json(exposure.to_json()) == exposure


def test_an_older_exposure_without_an_error_is_no_finding() -> None:
    stored = Exposure("labels", "of four records", "share", 0.99, 0.5, error=0.01).to_json()
    del stored["error"]
    assert not Exposure.from_json(stored).is_finding
