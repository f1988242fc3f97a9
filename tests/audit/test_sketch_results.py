"""What sketches show: the parts of the experiment by hand, and the committed page."""

import re

import numpy as np
import pytest
import torch

from benchmarks.experiments import sketch_choices, sketches
from benchmarks.experiments.sketch_choices import agreements
from benchmarks.experiments.sketch_mixes import from_others, predicted, r2
from benchmarks.experiments.sketch_questions import (
    FULL,
    GROUP,
    GROUP_ASKED,
    SUM,
    SUM_ASKED,
    answer,
    seen_in_the_clear,
)
from benchmarks.experiments.sketch_rounds import DEALS, SIZES, apart, matrix, sites
from benchmarks.experiments.table import NO_GOAL, Row
from securefl.rng import seeded_keystream
from tests.paths import ROOT

PAGE = (ROOT / "docs/results/sketches.md").read_text(encoding="utf-8")


def test_entries_are_0_1_and_minus_1_and_keep_squared_lengths_on_average() -> None:
    drawn = matrix(64, 5001, seeded_keystream(1, "test"))
    values, counts = np.unique(drawn.numpy(), return_counts=True)
    np.testing.assert_allclose(values, [-(2**0.5) / 8, 0, 2**0.5 / 8], rtol=1e-6)
    # 320,064 entries: four standard deviations are 0.4 %.
    np.testing.assert_allclose(counts / drawn.numel(), [0.25, 0.5, 0.25], atol=0.004)
    row = torch.randn(5001, generator=torch.Generator().manual_seed(2))
    sizes = [
        float((matrix(64, 5001, seeded_keystream(seed, "test")) @ row).square().sum())
        for seed in range(40)
    ]
    # One has a deviation of root 2 / 64, a mean of forty 2.8 %; a factor of 2 is far off.
    assert np.mean(sizes) == pytest.approx(float(row.square().sum()), rel=0.12)


def test_an_answer_is_the_scalar_product_of_two_sketches() -> None:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(4, 300, generator=generator)
    question = torch.nn.functional.normalize(torch.randn(300, generator=generator), dim=0)
    drawn = matrix(16, 300, seeded_keystream(7, "test"))
    expected = (rows @ drawn.T) @ (drawn @ question)
    measured = answer(rows, question, 16, seeded_keystream(7, "test"))
    # A row's own length stays, divided by twice that of the question: up to 17 / 200.
    torch.testing.assert_close(measured.float(), expected, rtol=0, atol=0.3)
    assert float((measured - rows.double() @ question.double()).abs().max()) > 0.3


def test_a_sum_loses_the_update_of_the_colluder_and_keeps_that_of_the_client() -> None:
    # Client i's update is 1 at i: what is seen is whose updates are in it.
    seen = seen_in_the_clear(torch.eye(8))
    members = {
        name: [set(row.nonzero().flatten().tolist()) for row in rows] for name, rows in seen.items()
    }
    assert members[FULL] == [{client} for client in range(8)]
    assert members[SUM] == [set(range(8))] * 8
    assert members[SUM_ASKED][0] == {0, 2, 3, 4, 5, 6, 7}
    assert members[SUM_ASKED][7] == {0, 1, 2, 3, 5, 6, 7}
    assert members[GROUP] == [{0, 1, 2, 3}] * 4 + [{4, 5, 6, 7}] * 4
    assert members[GROUP_ASKED][:4] == [{0, 2, 3}, {0, 1, 3}, {0, 1, 2}, {1, 2, 3}]
    # Each update is in it once.
    assert all(bool(((rows == 0) | (rows == 1)).all()) for rows in seen.values())


def test_mixes_behind_straight_directions_are_found_from_distances_alone() -> None:
    stream = np.random.default_rng(4)
    # Twelve clients of one class each, and four clients known of each class.
    truth = np.eye(3)[np.arange(12) % 3]
    rows = truth @ stream.normal(size=(3, 50)) + 5.0
    estimate = predicted([apart(torch.from_numpy(rows))], truth, known=list(range(9)))
    np.testing.assert_allclose(estimate, truth, atol=0.12)
    assert (estimate >= 0).all()
    np.testing.assert_allclose(estimate.sum(axis=1), 1.0)
    noise = stream.normal(size=(12, 50))
    assert r2(from_others([apart(torch.from_numpy(rows))], truth), truth) > 0.9
    assert r2(from_others([apart(torch.from_numpy(noise))], truth), truth) < 0.3


def test_clients_are_dealt_all_records_and_the_others_none_of_them() -> None:
    for alpha in DEALS.values():
        dealt = sites(1, records=800, alpha=alpha)
        assert sum(map(len, dealt.records)) == 800
        assert len(dealt.others) == 1797 - 800
        np.testing.assert_allclose(dealt.mixes.sum(axis=1), 1.0)
    assert dealt.mixes.std() > 2 * sites(1, records=800, alpha=None).mixes.std()


def test_neither_rows_nor_sketches_choose_clients_that_flip_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sketch_choices, "ROUNDS", 2)
    found = agreements("dnc", "sign flip", None, 1)
    assert set(found) == set(SIZES)
    assert all(agreement.liars == agreement.liars_by_rows == 0 for agreement in found.values())
    assert all(0.5 < agreement.common <= 1 for agreement in found.values())


def committed() -> dict[str, list[Row]]:
    """Returns the rows on the committed page, by source."""
    rows: dict[str, list[Row]] = {}
    for line in PAGE.splitlines():
        if line.startswith("## "):
            rows[line[3:].lower()] = []
        elif line.startswith("| ") and not line.startswith("| what"):
            what, measured = (cell.strip() for cell in line.strip("|").split("|"))
            rows[list(rows)[-1]].append(Row(what, NO_GOAL, measured, True))
    return rows


def test_the_committed_page_is_made_of_its_rows() -> None:
    rows = committed()
    assert sketches.page(rows) == PAGE
    assert list(rows) == list(sketches.SOURCES)
    choices = len(sketch_choices.RULES) * len(sketch_choices.ATTACKS)
    assert len(rows["membership"]) == 2 + len(SIZES)
    assert len(rows["class mixes"]) == len(DEALS) * (len(SIZES) + 1)
    assert len(rows["choices"]) == len(DEALS) * choices


def test_a_question_shows_more_than_the_sum_and_less_than_the_whole_update() -> None:
    areas = {
        row.what: [float(value) for value in re.findall(r"(0\.\d+) ±", row.measured)]
        for row in committed()["membership"]
    }
    for single, several in areas.values():
        assert 0.5 < single <= several + 0.02
    sketched = areas["distances between sketches of 64, one colluder"]
    assert areas[SUM][0] < sketched[0] < areas[FULL][0]
