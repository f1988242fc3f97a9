"""Noise from a seed stays marked in every later run: in its ledgers, and next to every epsilon."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from securefl.audit.lint import examine
from securefl.errors import BudgetExceeded, LedgerError
from securefl.privacy.chain import chain, read_entries
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, past_of
from securefl.privacy.terms import Terms
from securefl.runs import api
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import UNKNOWN, seeded_earlier, seeded_runs
from securefl.runs.origin import origin_of
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import make_scenario, parse_scenario
from securefl.studies.scores import read_scores
from securefl.ui.cli import app
from securefl.ui.compare import compare
from securefl.ui.report import write_report
from securefl.ui.styles import Style
from tests.privacy.test_ledger import EVENT, rid

# Every record is in every step, so that epsilons have a closed form and take no time.
MORE = """
rounds = 2
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 512 }
privacy = { epsilon = 5.0, delta = 1e-5 }
"""
SEEDED = MORE.replace("epsilon = 5.0", 'epsilon = 3.0, noise = "seeded"')
MOST = MORE.replace("epsilon = 5.0", "epsilon = 8.0")


def without(client: int) -> str:
    """A client that is in no round."""
    return (
        "\n".join(f"[[simulate.drop]]\nclient = {client}\nround = {n}\nstage = 1" for n in range(2))
        + "\n"
    )


def played(folder: Path, text: str, after: Path | None = None) -> Path:
    given = text if after is None else f'init_from = "{after}"\n{text}'
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / f"{folder.name}.toml").write_text(given)
    api.run(parse_scenario(given), folder, text=given)
    return folder


class Generations(NamedTuple):
    """A seeded run without client 2, then two with system noise: without client 3, and with all."""

    first: Path
    second: Path
    third: Path

    @property
    def later(self) -> tuple[Path, Path]:
        return self.second, self.third


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    folder = tmp_path_factory.mktemp("lineage")
    first = played(folder / "first", SEEDED + without(2))
    second = played(folder / "second", MORE + without(3), first)
    return Generations(first, second, played(folder / "third", MOST, second))


def cell(folder: Path) -> Cell:
    ((_, _, found),) = RunFolder.open(folder).cells()
    return found


def run_of(folder: Path) -> str:
    return str(cell(folder).status().run)


def openings(folder: Path) -> list[dict[str, Any]]:
    return [read_entries(file)[0] for file in sorted(cell(folder).ledgers.iterdir())]


def resolved(folder: Path) -> dict[str, Any]:
    return dict(next(iter(json.loads((folder / "resolved.json").read_text())["cells"].values())))


def said(*arguments: str | Path, at: Path) -> str:
    """What a command prints, run in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert done.exit_code == 0, done.output
    return done.stdout


def facts(*arguments: str | Path, at: Path) -> list[dict[str, Any]]:
    """The same as JSON, an object a line."""
    return [json.loads(line) for line in said(*arguments, "--display", "json", at=at).splitlines()]


# --- in the ledgers


def test_every_ledger_of_every_later_generation_names_the_run_whose_noise_was_seeded(
    made: Generations,
) -> None:
    for folder in made.later:
        assert len(openings(folder)) == 4
        for opening in openings(folder):
            assert opening["terms"]["noise"] == "system"
            assert opening["before"]["seeded"] == [run_of(made.first)]
    for opening in openings(made.first):
        assert opening["terms"]["noise"] == "seeded"
        assert "before" not in opening


def test_every_seeded_generation_is_named(made: Generations, tmp_path: Path) -> None:
    again = MOST.replace("delta", 'noise = "seeded", delta')
    both = played(tmp_path / "both", again, made.second)
    origin = origin_of(parse_scenario(f'init_from = "{both}"\n{MOST.replace("8.0", "10.0")}'))
    assert origin is not None
    assert origin.seeded == (run_of(made.first), run_of(both))
    assert origin.before(99).seeded == origin.seeded  # a client that never spent anything


def test_runs_that_all_drew_from_the_system_bear_no_mark(tmp_path: Path) -> None:
    first = played(tmp_path / "first", MORE.replace("5.0", "3.0"))
    second = played(tmp_path / "second", MORE, first)
    assert [opening["before"]["seeded"] for opening in openings(second)] == [[]] * 4
    metrics = cell(second).metrics() or {}
    assert (metrics["noise"], metrics["seeded_before"]) == ("system", [])
    assert "SEEDED" not in said("validate", "second.toml", at=tmp_path)
    assert examine(second)[0].findings == []


# --- wherever an epsilon is printed


def test_metrics_tables_and_results_are_marked(made: Generations) -> None:
    for folder in made.later:
        metrics = cell(folder).metrics() or {}
        assert (metrics["noise"], metrics["seeded_before"]) == ("seeded", [run_of(made.first)])
        assert read_scores(folder / "results.csv").seeded == {"run"}
        assert "(seeded)" in write_report(folder).read_text(encoding="utf-8").partition("Mean ±")[0]


def test_validate_marks_the_claim_and_what_was_spent(made: Generations) -> None:
    name, at = run_of(made.first), made.first.parent
    mark = f"SEEDED noise in an earlier run ({name}): anybody with that seed can remove it"
    for folder in made.later:
        lines = said("validate", f"{folder.name}.toml", at=at).splitlines()
        (claim,) = [line for line in lines if "-DP for one training example" in line]
        (spent,) = [line for line in lines if line.startswith("goes on from")]
        assert claim.endswith(mark)
        assert spent.endswith(mark)
        assert [
            line
            for line in lines
            if line.startswith(f"lint: MISTAKE seeded-before: noise of run {name}, which")
        ]
        assert facts("validate", f"{folder.name}.toml", at=at)[0]["seeded_before"] == [name]


def test_run_marks_what_it_prints(made: Generations) -> None:
    for folder in made.later:
        how = ("run", f"{folder.name}.toml", "--out", folder.name)
        printed = said(*how, "--display", "plain", at=made.first.parent)
        assert " (seeded) " in printed
        assert "lint: MISTAKE seeded-before: noise of run" in printed
        (row,) = [line for line in facts(*how, at=made.first.parent) if line["event"] == "row"]
        assert row["runs"][0]["noise"] == "seeded"


def test_a_spent_budget_is_reported_with_the_mark(made: Generations) -> None:
    with pytest.raises(
        BudgetExceeded, match=r"raise privacy\.epsilon; SEEDED noise in an earlier run"
    ):
        origin_of(parse_scenario(f'init_from = "{made.third}"\n{MOST}'))


def test_compare_marks_an_epsilon_whose_noise_a_seed_gives(
    made: Generations, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(made.second, made.third, ("epsilon", "accuracy"), Style.PLAIN)
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("(seeded)") for line in lines if line.startswith("run ")] == [True, False]
    compare(made.second, made.third, ("epsilon", "accuracy"), Style.JSON)
    assert [json.loads(line)["seeded"] for line in capsys.readouterr().out.splitlines()] == [
        True,
        False,
    ]


def test_an_audit_marks_the_claim(made: Generations) -> None:
    for folder in made:
        options = (
            "--adversary",
            "outsider",
            "--shadows",
            "0",
            "--no-exposure",
            "--display",
            "json",
        )
        given = [
            "audit",
            str(folder),
            *options,
            "--out",
            str(folder.with_name(f"audit-{folder.name}")),
        ]
        printed = CliRunner().invoke(app, given).stdout
        (claim,) = [one["claim"] for one in map(json.loads, printed.splitlines()) if "claim" in one]
        assert "SEEDED noise" in claim
        assert (run_of(made.first) in claim) == (folder != made.first)


def test_the_lint_names_it_and_the_claim_falls(made: Generations) -> None:
    for folder in made.later:
        (verdict,) = examine(folder)
        found = {finding.name: finding for finding in verdict.findings}
        assert found["seeded-before"].grave
        assert run_of(made.first) in found["seeded-before"].message
    assert {finding.name for finding in examine(made.first)[0].findings} == {"seeded-noise"}


# --- ledgers from before there was a mark


def unmarked(folder: Path, target: Path, after: Path | None = None) -> Path:
    """A copy of a run as earlier versions left it: without marks in ledgers and metrics."""
    copy = Path(shutil.copytree(folder, target))
    for file in cell(copy).ledgers.iterdir():
        relink(file, after)
    metrics = cell(copy).folder / "metrics.json"
    held = json.loads(metrics.read_text())
    held.pop("seeded_before")
    metrics.write_text(json.dumps(held | {"noise": resolved(copy)["privacy"]["noise"]}))
    renote(copy)
    if after is not None:
        text = (copy / "resolved.json").read_text()
        (copy / "resolved.json").write_text(text.replace(resolved(copy)["init_from"], str(after)))
    return copy


def relink(file: Path, after: Path | None) -> None:
    """Rewrites a ledger without marks, as the continuation of its client's ledger elsewhere."""
    bodies = [
        {key: value for key, value in entry.items() if key != "hash"}
        for entry in read_entries(file)
    ]
    opening = {"terms": {key: value for key, value in bodies[0]["terms"].items() if key != "noise"}}
    if after is not None and bodies[0]["before"]["events"]:
        head = past_of(cell(after).ledgers / file.name).heads[-1]
        opening["before"] = {"head": head, "events": bodies[0]["before"]["events"]}
    elif bodies[0]["kind"] == "begin":  # a client without a past had no such line
        bodies.pop(0)
    head, lines = "0" * 64, list[bytes]()
    for body in bodies:
        plain = {key: value for key, value in body.items() if key not in ("terms", "before")}
        line, head = chain(head, plain if lines else plain | opening)
        lines.append(line)
    file.write_bytes(b"".join(lines))


def renote(folder: Path) -> None:
    """Make the rounds note the heads of the ledgers as they are."""
    path = cell(folder).folder / "rounds.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        for client in record["ledger_heads"]:
            file = cell(folder).ledgers / f"{client}.jsonl"
            record["ledger_heads"][client] = (
                read_entries(file)[-1]["hash"] if file.exists() else "0" * 64
            )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def old(made: Generations, tmp_path: Path) -> Generations:
    first = unmarked(made.first, tmp_path / "first")
    second = unmarked(made.second, tmp_path / "second", first)
    return Generations(first, second, unmarked(made.third, tmp_path / "third", second))


def test_an_unmarked_ledger_counts_as_its_scenario_says(old: Generations, tmp_path: Path) -> None:
    assert all("noise" not in opening["terms"] for folder in old for opening in openings(folder))
    for folder in old:
        assert seeded_runs(resolved(folder), cell(folder)) == (run_of(old.first),)
    fourth = played(tmp_path / "fourth", MOST.replace("8.0", "10.0"), old.third)
    assert [opening["before"]["seeded"] for opening in openings(fourth)] == [
        [run_of(old.first)]
    ] * 4
    assert (cell(fourth).metrics() or {})["noise"] == "seeded"


def test_a_folder_that_an_earlier_version_laundered_is_printed_with_the_mark(
    old: Generations, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in old.later:
        assert (cell(folder).metrics() or {})["noise"] == "system"
        assert "(seeded)" in write_report(folder).read_text(encoding="utf-8").partition("Mean ±")[0]
        (verdict,) = examine(folder)
        assert "seeded-before" in {finding.name for finding in verdict.findings}
    compare(old.second, old.third, ("epsilon",), Style.PLAIN)
    assert "(seeded)" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["gone", "another", "two"])
def test_an_unmarked_past_that_cannot_be_looked_up_is_no_clean_one(
    old: Generations, tmp_path: Path, change: str
) -> None:
    if change == "gone":
        shutil.rmtree(old.first)
    elif change == "another":  # a clean run where the seeded one was
        shutil.rmtree(old.first)
        played(old.first, MORE.replace("5.0", "3.0"))
    else:
        held = json.loads((old.first / "resolved.json").read_text())
        held["uses"] *= 2
        (old.first / "resolved.json").write_text(json.dumps(held))
    assert seeded_earlier(resolved(old.second), cell(old.second)) == (UNKNOWN,)
    (verdict,) = examine(old.second)
    assert "seeded-before" in {finding.name for finding in verdict.findings}


def test_an_unmarked_run_that_was_interrupted_is_resumed(old: Generations) -> None:
    scenario = parse_scenario((old.first.parent / "second" / "scenario.toml").read_text())
    moved = make_scenario({**scenario.resolved(), "init_from": str(old.first)})
    books = assemble(
        moved, run=run_of(old.second), ledgers=cell(old.second).ledgers, origin=origin_of(moved)
    ).ledgers
    assert books[0].count(read_event(old.second, 0)) > 0
    assert books[0].before.seeded == (run_of(old.first),)


def read_event(folder: Path, client: int) -> Any:
    return next(iter(dict(past_of(cell(folder).ledgers / f"{client}.jsonl").events)))


# --- a ledger under the other kind of noise


@pytest.mark.parametrize(("kept", "asked"), [("seeded", "system"), ("system", "seeded")])
def test_a_ledger_does_not_open_under_the_other_kind_of_noise(
    tmp_path: Path, kept: Any, asked: Any
) -> None:
    terms = Terms("example", "add_remove", 1e-5, 8.0, kept)
    Ledger(tmp_path / "1.jsonl", terms).reserve(EVENT, release_id=rid(0))
    with pytest.raises(LedgerError, match=r"1\.jsonl was kept under other terms"):
        Ledger(tmp_path / "1.jsonl", terms._replace(noise=asked))
    assert Ledger(tmp_path / "1.jsonl", terms).count(EVENT) == 1


def test_a_mark_without_a_past_is_written_and_required(tmp_path: Path) -> None:
    terms = Terms("example", "add_remove", 1e-5, 8.0, "system")
    past = NO_PAST._replace(seeded=("abc",))
    Ledger(tmp_path / "1.jsonl", terms, past).begin()
    assert read_entries(tmp_path / "1.jsonl")[0]["before"] == {
        "head": "0" * 64,
        "events": [],
        "seeded": ["abc"],
    }
    for other in (NO_PAST, NO_PAST._replace(seeded=("abd",))):
        with pytest.raises(
            LedgerError, match="does not continue the run that it is said to continue"
        ):
            Ledger(tmp_path / "1.jsonl", terms, other)
    Ledger(tmp_path / "1.jsonl", terms, past).begin()
    assert len(read_entries(tmp_path / "1.jsonl")) == 1
    assert past_of(tmp_path / "1.jsonl").seeded == ("abc",)


def said_to_be(noise: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        held = json.loads((folder / "resolved.json").read_text())
        next(iter(held["cells"].values()))["privacy"]["noise"] = noise
        (folder / "resolved.json").write_text(json.dumps(held))

    return edit


def test_a_scenario_whose_noise_was_edited_after_the_run_is_noticed(
    made: Generations, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(made.first, tmp_path / "copy"))
    said_to_be("system")(copy)
    (verdict,) = examine(copy)
    told = {finding.name: finding.message for finding in verdict.findings}
    assert (
        told["ledger-edited"]
        == "client 0: its ledger was kept at noise seeded, the scenario says system"
    )
    with pytest.raises(
        LedgerError, match=r"0\.jsonl of .* was kept at noise seeded, resolved\.json says system"
    ):
        origin_of(parse_scenario(f'init_from = "{copy}"\n{MORE}'))


def test_a_mark_that_is_no_list_of_names_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    for wrong in (3, [3], "abc", {"abc": 1}):
        before = {"head": "0" * 64, "events": [], "seeded": wrong}
        body = {"kind": "begin", "release": None, "event": None, "terms": {}, "before": before}
        line, _ = chain("0" * 64, body)
        path.write_bytes(line)
        with pytest.raises(LedgerError, match=r"1\.jsonl is damaged at line 1"):
            read_entries(path)
