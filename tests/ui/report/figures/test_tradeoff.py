"""Utility against epsilon: units and places are never mixed, one seed has no error."""

from pathlib import Path
from typing import Any

import pytest

from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.settings import settings_in
from securefl.ui.report.figures.tradeoff import tradeoff
from tests.ui.report.figures.folders import Made, folder_of, metrics_of

CLAIM = "rounds = 3\nprivacy = { epsilon = %s }\n"


def claimed(label: str, epsilon: float, accuracy: float, text: str = CLAIM, **others: Any) -> Made:
    metrics = metrics_of(accuracy, epsilon=epsilon - 0.01, noise="system")
    return Made(label, text % epsilon, metrics=metrics, **others)


def drawn(tmp_path: Path, cells: list[Made]) -> Figure | None:
    return tradeoff(settings_in(folder_of(tmp_path / "run", cells)).all)


def test_points_are_means_at_the_largest_epsilon_of_their_seeds(tmp_path: Path) -> None:
    cells = [
        claimed("e8", 8.0, 0.8),
        claimed("e8", 8.0, 0.7),
        claimed("e1", 1.0, 0.6),
        claimed("e1", 1.0, 0.5),
        Made("plain", metrics=metrics_of(0.9)),
        Made("poor", metrics=metrics_of(0.2)),
    ]
    figure = drawn(tmp_path, cells)
    assert figure is not None
    rows = [tuple(row) for row in figure.table.rows]
    head = list(figure.table.head)
    table = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["setting"] for row in table] == ["e1", "e8", "plain"]
    assert [row["epsilon"] for row in table] == [0.99, 7.99, None]
    assert [row["mean"] for row in table] == pytest.approx([0.55, 0.75, 0.9])
    assert [row["standard error"] for row in table] == pytest.approx([0.05, 0.05, None])
    assert {row["unit"] for row in table} == {"example", None}
    assert ">0.99</text>" in figure.svg
    assert ">7.99</text>" in figure.svg
    assert "for one training record" in figure.caption
    assert "holds against everybody else" in figure.caption


def test_one_epsilon_or_two_that_rounding_tells_apart_make_no_figure(tmp_path: Path) -> None:
    assert drawn(tmp_path / "one", [claimed("e8", 8.0, 0.8)]) is None
    near = [claimed("a", 8.0, 0.8), claimed("b", 8.1, 0.8)]
    assert drawn(tmp_path / "near", near) is None
    assert drawn(tmp_path / "none", [Made("plain", metrics=metrics_of(0.9))]) is None


def test_epsilons_of_different_units_are_never_in_one_panel(tmp_path: Path) -> None:
    cells = [
        claimed("record 8", 8.0, 0.8),
        claimed("client 1", 1.0, 0.6),
        claimed("record 1", 1.0, 0.7),
        claimed("client 8", 8.0, 0.65),
    ]
    settings = settings_in(folder_of(tmp_path / "run", cells)).all
    # To declare it would need twenty clients, and seconds of calibration.
    for setting in settings:
        if setting.label.startswith("client"):
            setting.scenario["privacy"]["unit"] = "client"
    assert tradeoff(settings[:2]) is None
    figure = tradeoff(settings)
    assert figure is not None
    assert figure.svg.count("epsilon (smaller protects more)") == 2
    assert "one training record" in figure.caption
    assert "everything that one client trains on" in figure.caption
    assert {row[2] for row in figure.table.rows} == {"example", "client"}


def test_lines_join_settings_that_differ_in_epsilon_alone(tmp_path: Path) -> None:
    cells = [
        claimed(
            f"{epsilon} {lr}",
            epsilon,
            0.5 + epsilon / 100,
            levels={"budget": str(epsilon), "lr": lr},
        )
        for epsilon in (1.0, 8.0)
        for lr in ("slow", "fast")
    ]
    figure = drawn(tmp_path, cells)
    assert figure is not None
    series = {row[0]: row[1] for row in figure.table.rows}
    assert series == {
        "1.0 slow": "slow",
        "8.0 slow": "slow",
        "1.0 fast": "fast",
        "8.0 fast": "fast",
    }


def test_settings_under_attack_are_left_out(tmp_path: Path) -> None:
    attack = '[attack]\nname = "sign_flip"\nscale = 5.0\nclients = [0]\n'
    cells = [claimed("e8", 8.0, 0.8), claimed("e1", 1.0, 0.6, CLAIM + attack)]
    assert drawn(tmp_path, cells) is None


def test_seeded_noise_is_marked(tmp_path: Path) -> None:
    seeded = 'rounds = 3\nprivacy = { epsilon = %s, noise = "seeded" }\n'
    cells = [
        Made(
            f"e{epsilon}",
            seeded % epsilon,
            metrics=metrics_of(0.7, epsilon=epsilon, noise="seeded"),
        )
        for epsilon in (1.0, 8.0)
    ]
    figure = drawn(tmp_path, cells)
    assert figure is not None
    assert "anybody with the seed can remove it" in figure.caption
    assert "one seed" in figure.caption
