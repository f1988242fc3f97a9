"""Training records of each site: declared or published numbers, and no others."""

from pathlib import Path

from securefl.scenario.scenario import parse_scenario
from securefl.ui.report.figures.records import public_records, records
from securefl.ui.report.figures.settings import settings_in
from tests.ui.report.figures.folders import SGD, Made, folder_of, metrics_of


def resolved(text: str) -> dict[str, object]:
    return parse_scenario(text).resolved()


def test_published_numbers_are_those_of_the_scenario() -> None:
    texts = [
        SGD,
        SGD + 'data = { name = "heart", only = 1 }\n',
        SGD + 'data = { name = "heart", held_out = 0 }\n',
        SGD + 'data = { name = "heart", partition = "iid", clients = 3 }\n',
    ]
    for text in texts:
        assert public_records(resolved(text)) == parse_scenario(text).facts.published_records


def test_declared_numbers_come_first() -> None:
    text = "rounds = 3\nprivacy = { epsilon = 3.0, records = [100, 90, 31, 80] }\n"
    assert public_records(resolved(text)) == (100, 90, 31, 80)


def test_numbers_that_are_drawn_or_private_are_not_shown() -> None:
    drawn = (
        SGD + 'weights = "equal"\ndata = { name = "heart", partition = "dirichlet", clients = 3 }\n'
    )
    assert public_records(resolved(drawn)) is None
    # Nothing of somebody's own data is opened, not even to be counted.
    own = resolved(SGD)
    own["data"] = {"name": "own_csv", "path": "/nowhere"}
    assert public_records(own) is None


def test_bars_have_the_names_of_the_sites(tmp_path: Path) -> None:
    sites = {name: {"accuracy": 0.5} for name in ("cleveland", "hungarian", "switzerland", "va")}
    folder = folder_of(tmp_path / "run", [Made("a", metrics=metrics_of(0.8, sites=sites))])
    figure = records(settings_in(folder).all)
    assert figure is not None
    published = parse_scenario(SGD).facts.published_records
    assert published is not None
    assert [tuple(row) for row in figure.table.rows] == [
        (place, name, count)
        for place, (name, count) in enumerate(zip(sites, published, strict=True))
    ]
    assert ">va</text>" in figure.svg
    assert "nothing was counted" in figure.caption


def test_other_sites_are_named_in_the_caption(tmp_path: Path) -> None:
    other = SGD + 'data = { name = "heart", partition = "iid", clients = 3 }\n'
    cells = [
        Made("a", metrics=metrics_of(0.8)),
        Made("b", metrics=metrics_of(0.7)),
        Made("c", other),
    ]
    figure = records(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert figure is not None
    assert [row[1] for row in figure.table.rows] == [f"client {n}" for n in range(4)]
    assert "1 setting has other sites." in figure.caption
