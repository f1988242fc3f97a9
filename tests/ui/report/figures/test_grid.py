"""Rules against attacks: each field is a mean of accuracy, and the clean cost is a difference."""

from pathlib import Path

import pytest

from securefl.ui.heatmap import colour
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.grid import grid
from securefl.ui.report.figures.settings import settings_in
from tests.ui.report.figures.folders import Made, folder_of, metrics_of

SITES = (
    'rounds = 3\ntraining = { kind = "sgd" }\n'
    'data = { name = "heart", partition = "iid", clients = 8 }\n'
)
RULES = {"mean": "", "median": 'defense = { rule = { name = "median" } }\n'}
ATTACKS = {
    None: "",
    "sign_flip": 'attack = { name = "sign_flip", scale = 5.0, clients = [0] }\n',
    "zero": 'attack = { name = "zero", clients = [0] }\n',
}


def made(rule: str, attack: str | None, accuracy: float, more: str = "", label: str = "") -> Made:
    text = SITES + RULES[rule] + ATTACKS[attack] + more
    return Made(label or f"{rule} {attack}", text, metrics=metrics_of(accuracy))


def drawn(tmp_path: Path, cells: list[Made]) -> Figure | None:
    return grid(settings_in(folder_of(tmp_path / "run", cells)).all)


def fields(figure: Figure | None) -> dict[tuple[object, object], object]:
    assert figure is not None
    return {(row[1], row[2]): row[3] for row in figure.table.rows}


def test_fields_and_clean_costs_are_those_of_the_metrics(tmp_path: Path) -> None:
    cells = [
        made("mean", None, 0.80),
        made("median", None, 0.75),
        made("mean", "sign_flip", 0.40),
        made("median", "sign_flip", 0.72),
    ]
    figure = drawn(tmp_path, cells)
    assert fields(figure) == {
        ("mean", "no attack"): 0.80,
        ("median", "no attack"): 0.75,
        ("mean", "sign_flip"): 0.40,
        ("median", "sign_flip"): 0.72,
    }
    assert figure is not None
    # The median loses .05 where nobody attacks; the mean is what it is compared with.
    assert ">\u22120.050</text>" in figure.svg
    assert ">0</text>" in figure.svg
    assert f"fill: {colour(0.40)}" in figure.svg
    assert ">0.72</text>" in figure.svg


def test_without_two_fields_under_attack_there_is_no_figure(tmp_path: Path) -> None:
    cells = [made("mean", None, 0.8), made("mean", "sign_flip", 0.4)]
    assert drawn(tmp_path / "one", cells) is None
    assert drawn(tmp_path / "none", cells[:1]) is None
    two = [made("mean", "sign_flip", 0.4), made("median", "sign_flip", 0.5)]
    figure = drawn(tmp_path / "two", two)
    # Nothing is known about runs that nobody attacks.
    assert set(fields(figure)) == {("mean", "sign_flip"), ("median", "sign_flip")}


def test_settings_that_share_a_field_give_the_worst(tmp_path: Path) -> None:
    stronger = ATTACKS["sign_flip"].replace("5.0", "9.0")
    cells = [
        made("mean", "sign_flip", 0.4),
        made("median", "sign_flip", 0.7),
        Made("strong", SITES + RULES["median"] + stronger, metrics=metrics_of(0.3)),
    ]
    figure = drawn(tmp_path, cells)
    assert fields(figure)[("median", "sign_flip")] == 0.3
    assert figure is not None
    assert "the worst of them" in figure.caption
    counts = {(row[1], row[2]): row[6] for row in figure.table.rows}
    assert counts[("median", "sign_flip")] == 2


def test_rules_are_compared_within_one_configuration_only(tmp_path: Path) -> None:
    fewer = SITES.replace("clients = 8", "clients = 4")
    cells = [
        Made("four", fewer, metrics=metrics_of(0.99)),
        made("mean", "sign_flip", 0.4),
        made("median", "sign_flip", 0.5),
    ]
    assert ("mean", "no attack") not in fields(drawn(tmp_path, cells))


def test_a_setting_that_one_seed_lacks_is_no_field(tmp_path: Path) -> None:
    cells = [
        made("mean", "sign_flip", 0.4),
        made("median", "sign_flip", 0.5),
        made("mean", "zero", 0.6, label="g"),
        Made("g", SITES + ATTACKS["zero"], metrics=metrics_of(None)),
    ]
    assert ("mean", "zero") not in fields(drawn(tmp_path, cells))


def test_means_over_seeds(tmp_path: Path) -> None:
    cells = [
        made("mean", "sign_flip", 0.4),
        made("mean", "sign_flip", 0.6),
        made("median", "sign_flip", 0.5),
        made("median", "sign_flip", 0.5),
    ]
    figure = drawn(tmp_path, cells)
    assert figure is not None
    first = figure.table.rows[0]
    assert first[3:6] == (pytest.approx(0.5), pytest.approx(0.1), 2)
    assert "Means are over 2 seeds" in figure.caption
