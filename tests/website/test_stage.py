"""website/stage.py: links of the repository become links of the site."""

from pathlib import Path

import pytest

from tests.paths import ROOT
from website.stage import BrokenLink, pages, rewritten, site_path_of, stage, unbroken


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/index.md", "[a](scenario.md)", "[a](scenario.md)"),
        ("docs/index.md", "[a](scenario.md#data)", "[a](scenario.md#data)"),
        ("docs/index.md", "[a](#concepts)", "[a](#concepts)"),
        ("docs/index.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("docs/index.md", "[a](../SECURITY.md)", "[a](security.md)"),
        ("docs/results/index.md", "[a](../studies.md#x)", "[a](../studies.md#x)"),
        ("docs/results/index.md", "[a](../../README.md)", "[a](../overview.md)"),
        ("README.md", "![a](docs/figures/topologies.svg)", "![a](figures/topologies.svg)"),
        ("README.md", "[a](docs/results/index.md)", "[a](results/index.md)"),
        ("docs/data.md", "[a](../securefl/rng.py)", "[a](files/securefl/rng.py.md)"),
        ("docs/data.md", "[a](../examples/deploy)", "[a](files/examples/deploy/index.md)"),
        ("docs/data.md", "[a](../examples/local_dp.ipynb)", "[a](files/examples/local_dp.ipynb)"),
        ("docs/index.md", "[the `key`](runs.md)", "[the `key`](runs.md)"),
        # A reader of the site has no files: a link that names one shows the title of its page.
        (
            "docs/index.md",
            "[runs.md](runs.md#x)",
            "[What a run promises, and what it writes](runs.md#x)",
        ),
        ("README.md", "[docs/studies.md](docs/studies.md)", "[Studies](studies.md)"),
        (
            "docs/index.md",
            "[![a](figures/topologies.svg)](runs.md)",
            "[![a](figures/topologies.svg)](runs.md)",
        ),
        ("docs/index.md", "`[a](nowhere.md)`", "`[a](nowhere.md)`"),
        ("docs/index.md", "```toml\n[a](nowhere.md)\n```", "```toml\n[a](nowhere.md)\n```"),
    ],
)
def test_a_link_leads_to_the_same_place_on_the_site(page: str, link: str, expected: str) -> None:
    assert rewritten(link, page, set()) == expected


@pytest.mark.parametrize("link", ["[a](nowhere.md)", "[a](../../nowhere.md)", "[a](../..)"])
def test_a_link_that_leads_nowhere_stops_the_build(link: str) -> None:
    with pytest.raises(BrokenLink, match=r"docs/index\.md links to .*, which does not exist"):
        rewritten(link, "docs/index.md", set())


def test_a_linked_folder_brings_its_files_and_nothing_that_programs_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("website.stage.ROOT", tmp_path)
    kept = ("examples/a.toml", "examples/deep/b.py")
    for name in (*kept, "examples/.cache/c.py", "examples/deep/__pycache__/b.pyc", "other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files: set[str] = set()
    rewritten("[a](../examples)", "docs/data.md", files)
    assert files == {"examples", "examples/deep", *kept}


def test_every_page_and_every_linked_file_is_laid_out(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    stage(folder)
    assert [name for name in pages().values() if not (folder / "docs" / name).exists()] == []
    code = (folder / "docs/files/securefl/data/coins.py.md").read_text(encoding="utf-8")
    assert (ROOT / "securefl/data/coins.py").read_text(encoding="utf-8") in code
    listing = (folder / "docs/files/examples/deploy/index.md").read_text(encoding="utf-8")
    assert "- [compose.yaml](compose.yaml.md)\n" in listing
    assert (folder / "zensical.toml").exists()
    with pytest.raises(FileExistsError):
        stage(folder)


def test_no_two_files_have_the_same_place_on_the_site() -> None:
    places = [site_path_of(path) for path in pages()]
    assert len(set(places)) == len(places)


def test_no_line_of_a_table_ends_within_a_figure() -> None:
    row = "| mean of 5 | 0.743 ± 0.009 | -0.050 [-0.306, +0.205] * |"
    expected = "| mean of 5 | 0.743\u00a0±\u00a00.009 | -0.050 [-0.306,\u00a0+0.205] * |"
    assert unbroken(f"{row}\nand 1 ± 2") == f"{expected}\nand 1 ± 2"
