"""README and docs: every command that a page shows works, and every link leads somewhere."""

import contextlib
import csv
import io
import re
import shlex
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import duckdb
import pytest
import torch

import defenses
import securefl
from securefl import parse_scenario
from securefl.data.entries import DataEntry
from securefl.scenario import catalog
from securefl.scenario.entries import RuleEntry
from tests.commands import call
from tests.paths import ROOT
from tests.workers import forked_workers

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = "CONTRIBUTING.md"
PAGES = [
    "README.md",
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))),
]
# Commands that take minutes as they are shown -> options that are added, and why.
SMALLER = {
    "securefl audit scenario.toml --adversary server": (
        "--shadows 0 --set rounds=3",
        "16 shadows are trained; tests/ui/test_audit.py trains some",
    ),
    "securefl audit scenario.toml --adversary malicious-server --pictures": (
        "--shadows 0 --set rounds=3",
        "16 shadows are trained",
    ),
    "securefl audit runs/first --adversary outsider --shadows 32": (
        "--shadows 0",
        "32 shadows are trained",
    ),
    "securefl audit scenario.toml --adversary outsider --shadows 2": (
        "--set rounds=3 --jobs 1",
        "two shadows of 20 rounds take 20 s of CPU",
    ),
    "securefl deploy rehearse scenario.toml --out rehearsal --set privacy.noise=seeded": (
        "--set rounds=2",
        "20 rounds of five trips, each with a file that is synced at every site",
    ),
}
# The folder that an audit makes is named by a hash.
PLACEHOLDER = "audits/NAME"


def blocks(language: str, page: str = "README.md") -> list[str]:
    """The fenced blocks of a page, without the indent of a list that they may be in."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.S | re.M)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def commands(page: str) -> list[str]:
    return [line for block in blocks("console", page) for line in block.splitlines() if line]


STUDIES = "docs/studies.md"
# Each of these pages has a test of its own, with the files that the page speaks of.
WITH_FILES = {
    *("docs/labels.md", "docs/medical-data.md", "docs/own-data.md", "docs/refine.md"),
}
COMMANDS = list(
    dict.fromkeys(
        line for page in PAGES if page not in {STUDIES, *WITH_FILES} for line in commands(page)
    )
)


@pytest.fixture(autouse=True, scope="module")
def quick_workers() -> Iterator[None]:
    with forked_workers():
        yield


def run(line: str, folder: Path) -> None:
    if PLACEHOLDER in line:
        audits = sorted(path.parent for path in folder.glob("audits/*/audit-*.json"))
        line = line.replace(PLACEHOLDER, str(audits[0]))
    options, _ = SMALLER.get(line, ("", ""))
    program, *arguments = shlex.split(f"{line} {options}")
    assert program == "securefl"
    done = call(*arguments, cwd=folder)
    assert done.returncode == 0, f"{line}: {done.stderr}"


def printed_by(code: str, folder: Path) -> str:
    """What a block of Python prints, run in this process."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        exec(compile(code, "block", "exec"), {"__name__": "__main__"})  # noqa: S102
    return out.getvalue()


@pytest.mark.timeout(900)  # about a minute of CPU in one test: later commands need earlier runs
def test_every_command_on_the_pages_works(tmp_path: Path) -> None:
    """Word for word, in the order of the pages: README makes the runs that the others look at."""
    assert COMMANDS[: len(commands("README.md"))] == commands("README.md")
    for line in COMMANDS:
        run(line, tmp_path)
    assert (tmp_path / "profile.svg").exists()
    first, krum_refused, over_budget, elected = printed_by(
        blocks("python")[0], tmp_path
    ).splitlines()
    assert len(first.split()) == 2
    assert "krum with f=1 needs 5 rows" in krum_refused
    assert "within epsilon 8" in over_budget
    assert elected == "tensor([2.])"


def test_a_command_is_made_smaller_only_while_a_page_shows_it() -> None:
    assert set(SMALLER) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_a_command_is_in_a_console_fence(page: str) -> None:
    """In a fence of another language, or of none, no test would run it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", text, re.S | re.M)
    for language, block in fences:
        assert language in {"console", "python", "toml", "sql"}
        if language != "console":
            assert not re.findall(r"^(?:\$ )?securefl .*$", block, re.M)


def test_the_scenario_of_the_readme_is_complete() -> None:
    assert parse_scenario(blocks("toml")[0]).channel.kind == "masked"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 900


def test_a_study_and_the_queries_work_word_for_word(tmp_path: Path) -> None:
    for line in dict.fromkeys(commands(STUDIES)):
        run(line, tmp_path)
    expected = [("IID", "mean", "sign flip", "10 %", 1), ("IID", "mean", "sign flip", "20 %", 1)]
    printed = re.sub(r"\s+", " ", printed_by(blocks("python", STUDIES)[-1], tmp_path))
    assert "IID mean sign flip 10 %" in printed
    with contextlib.chdir(tmp_path):
        rows = duckdb.execute(blocks("sql", STUDIES)[0]).fetchall()
    assert [(*row[:4], row[6]) for row in rows] == expected
    with (tmp_path / "runs/robustness/results.csv").open() as file:
        accuracies = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert [row[4] for row in rows] == [float(row["value"]) for row in accuracies]


def module_from(code: str, file: Path) -> ModuleType:
    file.write_text(code, encoding="utf-8")
    spec = util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry_of(block: str, names: dict[str, object]) -> tuple[str, object]:
    """Key and value of a line of a table, such as `"krum": RuleEntry(...),`."""
    ((name, entry),) = eval(f"{{{block}}}", names).items()  # noqa: S307
    return name, entry


def test_the_rule_of_contributing_works_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, line, *_ = blocks("python", CONTRIBUTING)
    module = module_from(code, tmp_path / "midrange.py")
    rows = torch.tensor([[1.0], [2.0], [3.0], [10.0], [99.0]])
    assert module.trimmed_midrange(rows, f=1) == 6.0
    # A row that is not finite is the corrupt one: nothing more is trimmed.
    assert module.trimmed_midrange(torch.cat([rows, rows / 0]).narrow(0, 0, 6), f=1) == 50.0
    with pytest.raises(ValueError, match="needs n >= 2f"):
        module.trimmed_midrange(rows, f=3)
    for name in ("trimmed_midrange", "trimmed_midrange_minimum_rows"):
        monkeypatch.setattr(defenses, name, getattr(module, name), raising=False)
    name, entry = entry_of(line, {"RuleEntry": RuleEntry, "defenses": defenses})
    monkeypatch.setitem(catalog.RULES, name, entry)
    text = 'rounds = 2\ntraining = { kind = "sgd" }\ndefense = { rule = { name = "NAME", f = 1 } }'
    metrics = securefl.run(parse_scenario(text.replace("NAME", name)), tmp_path / "run")
    assert metrics["rounds"] == 2


def test_the_data_set_of_contributing_works_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, code, line = blocks("python", CONTRIBUTING)
    records = [f"{i},{2 * i},{i % 7},{i % 5},{i % 2}" for i in range(60)]
    (tmp_path / "clinic.csv").write_text("\n".join(records))
    module = module_from(code, tmp_path / "clinic.py")
    name, entry = entry_of(line, {"DataEntry": DataEntry, "clinic": module})
    monkeypatch.setitem(catalog.DATA, name, entry)
    text = 'rounds = 2\ntraining = { kind = "sgd" }\ndata = { name = "NAME", clients = 3 }'
    metrics = securefl.run(parse_scenario(text.replace("NAME", name)), tmp_path / "run")
    assert metrics["records"] == 15


def test_every_public_name_is_used_on_the_pages() -> None:
    code = (ROOT / "docs/python.md").read_text(encoding="utf-8") + blocks("python")[0]
    assert not [name for name in securefl.__all__ if not re.search(rf"\b{name}\b", code)]


def test_the_two_commands_come_first() -> None:
    assert README.splitlines()[2].startswith("    make demo")
    assert README.splitlines()[3].startswith("    make test")


def test_the_python_page_does_what_it_says(tmp_path: Path) -> None:
    objects, study = [printed_by(code, tmp_path) for code in blocks("python", "docs/python.md")]
    accuracy, rounds, network = objects.split(maxsplit=2)
    assert float(accuracy) > 0.6
    assert rounds == "20"
    assert "out_features=16" in network
    assert "last" in study
    assert "accuracy" in study


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_on_a_page_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.M))
    assert targets
    assert not [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)]


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda page: page.name
)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not link.startswith("http")
    ]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    names = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert [name for name in names if name not in f"{index} index.md"] == []
