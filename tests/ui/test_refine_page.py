"""docs/refine.md: its commands, word for word, on small records."""

from pathlib import Path

from securefl.runs.refining.series import Series
from tests.runs.refining.test_own_records import month
from tests.ui.test_readme import blocks, commands, run

PAGE = "docs/refine.md"


def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "clinic.toml").write_text(blocks("toml", PAGE)[0])
    for seed, name in enumerate(("january", "february", "march", "public")):
        month(tmp_path, name, seed=seed)
    (tmp_path / "public.toml").write_text(blocks("toml", PAGE)[1])
    for line in commands(PAGE):
        run(line, tmp_path)
    series = Series(tmp_path / "runs/clinic")
    kinds = [(line.version, line.kind) for line in series.history()]
    assert kinds == [(2, "released"), (3, "released"), (2, "rolled back")]
    assert (tmp_path / "drift.svg").exists()
    assert (series.folder(3) / "card.md").exists()


def test_the_page_is_short() -> None:
    text = (Path(__file__).parents[2] / PAGE).read_text()
    assert len(text.splitlines()) <= 125
