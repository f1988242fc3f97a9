"""Own records between sites: the simulation's model, and of a bad file nothing but "not ready"."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.data.task import Task
from securefl.errors import NotReady, ScenarioError
from securefl.runs.cell import Cell
from securefl.runs.deployed import rehearsal, site_records
from securefl.runs.deployed.charter import Shared, envelope_limit
from securefl.runs.deployed.coordinator import coordinate
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Direction, Kind, Part, opened
from securefl.runs.deployed.own_records import own_paths, write_own_path
from securefl.runs.deployed.receipts import ReceiptBook
from securefl.runs.deployed.rehearsal import rehearse
from securefl.runs.deployed.site_records import records_at
from securefl.scenario.assemble.public import public_parts, server_parts
from securefl.scenario.assemble.site import site_parts
from securefl.scenario.assemble.site_data import SiteData, read_site_data
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.shared import schema_digest
from tests.runs.deployed.own_sites import (
    DP,
    MASKED,
    SGD,
    SITES,
    arrays_text,
    table_text,
    write_arrays,
    write_tables,
)
from tests.runs.deployed.parties import MemoryLink, agent_of, charter_of
from tests.runs.deployed.test_rehearsal import Forked
from tests.ui.test_readme import blocks

SUMS = 'evaluate = { leave = "sums" }\n'

importlib.import_module("securefl.learning.dp_sgd")  # Opacus, once and not in every process


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_started", Forked)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (write_tables, table_text(DP)),
        (write_tables, table_text(SGD + MASKED, keys=", share = 0.8, most = 22")),
        (write_arrays, arrays_text(SGD)),
        (write_arrays, arrays_text(DP + MASKED, keys=', test_on = "validation"')),
    ],
    ids=["table plain", "table masked", "arrays plain", "arrays masked"],
)
def test_sites_with_files_of_their_own_end_with_the_simulations_model(
    write: Callable[[Path], None], text: str, tmp_path: Path
) -> None:
    write(tmp_path)
    scenario = parse_scenario(text, folder=tmp_path)
    result = rehearse(scenario, text, (), tmp_path / "out", seconds=30.0)
    assert (result.exit_code, result.reason, result.absent) == (0, "", {})
    assert result.identical is True


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (write_tables, table_text(SGD + SUMS)),
        (write_arrays, arrays_text(SGD + MASKED + SUMS)),
    ],
    ids=["table", "arrays"],
)
def test_sites_judge_the_model_on_records_of_their_own(
    write: Callable[[Path], None], text: str, tmp_path: Path
) -> None:
    write(tmp_path)
    scenario = parse_scenario(text, folder=tmp_path)
    result = rehearse(scenario, text, (), tmp_path / "out", seconds=30.0)
    assert (result.exit_code, result.reason, result.absent) == (0, "", {})
    assert (result.identical, result.figures) == (True, True)


def test_a_site_without_records_that_judge_counts_nothing_and_is_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path)
    text = table_text(SGD + SUMS)
    scenario = parse_scenario(text, folder=tmp_path)
    write_own_path(tmp_path, tmp_path / "sites/chur.csv")
    whole = records_at(tmp_path, scenario, 1)
    assert whole.judging is not None
    assert len(whole.judging) > 0
    train_only = SiteData(whole.train, None, None)
    monkeypatch.setattr(site_records, "read_site_data", lambda *_: train_only)
    judging = records_at(tmp_path, scenario, 1).judging
    assert judging is not None
    assert (len(judging), judging.features.shape[1:]) == (0, whole.train.features.shape[1:])
    quiet = parse_scenario(table_text(SGD), folder=tmp_path)
    assert records_at(tmp_path, quiet, 1).judging is None


def test_each_site_gets_its_file_and_nobody_a_copy(tmp_path: Path) -> None:
    write_tables(tmp_path)
    text = table_text()
    out = tmp_path / "out"
    rehearse(parse_scenario(text, folder=tmp_path), text, (), out, seconds=30.0, keeps_keys=True)
    for site, name in enumerate(SITES):
        assert own_paths(out / f"sites/{site}") == (tmp_path / f"sites/{name}.csv",)
    assert not list(out.rglob("records.npz"))
    for path in (out / "coordinator").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"visits.toml" not in content, path
            assert b"secret" not in content, path
            assert str(tmp_path / "sites").encode() not in content, path


def test_a_bad_file_ends_a_rehearsal_before_a_folder_is_made(tmp_path: Path) -> None:
    write_tables(tmp_path)
    text = table_text()
    scenario = parse_scenario(text, folder=tmp_path)
    spoil(tmp_path / "sites/chur.csv", "mild", "mild,9", count=1)
    with pytest.raises(NotReady, match=r"chur\.csv, line \d+: the record has not 6 fields"):
        rehearse(scenario, text, (), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_gone_or_changed_after_the_approval_leaves_its_site_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path)
    text = table_text(SGD + MASKED)
    chur, started = tmp_path / "sites/chur.csv", []

    def start(arguments: list[str], inherited: tuple[int, ...] = ()) -> Forked:
        if arguments[1].endswith("sites/1"):
            spoil(chur, "mild", "strong", count=1)
        started.append(Forked(arguments, inherited))
        return started[-1]

    monkeypatch.setattr(rehearsal, "_started", start)
    scenario = parse_scenario(text, folder=tmp_path)
    out = tmp_path / "out"
    result = rehearse(scenario, text, (), out, seconds=30.0)
    assert result.exit_code == 0
    assert set(result.absent.values()) <= {(1,)}
    assert 2 in [process.returncode for process in started]
    assert "the files of records have changed" in (out / "sites/1/errors.txt").read_text()
    for path in (out / "coordinator").rglob("*.json*"):
        assert b"changed" not in path.read_bytes(), path
        assert b"chur.csv" not in path.read_bytes(), path


def test_a_rehearsal_needs_the_files_of_all_sites(tmp_path: Path) -> None:
    write_tables(tmp_path)
    text = Shared.of(table_text(), (), tmp_path).text
    with pytest.raises(ScenarioError, match="a rehearsal gives each site its file"):
        rehearse(parse_scenario(text), text, (), tmp_path / "out")


def spoil(path: Path, old: str, new: str, *, count: int = -1) -> None:
    """Changes the text of a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def run_with_a_bad_site(folder: Path, text: str, spoilt: Callable[[Path], None]) -> Any:
    """Plays a deployment in which the file of site 1 is spoilt; returns its link and its cell."""
    shared = Shared.of(text, (), folder)
    spoilt(folder / "sites/chur.csv")
    server = Ed25519PrivateKey.generate()
    keys = {site: Ed25519PrivateKey.generate() for site in range(4)}
    public = {site: key.public_key().public_bytes_raw() for site, key in keys.items()}
    server_public = server.public_key().public_bytes_raw()
    cell = Cell(folder / "coordinator")
    charter = charter_of(shared.text, keys=public, server=server_public, run=cell.open())
    scenario = charter.scenario()
    limit = envelope_limit(scenario)
    agents = {}
    for site, key in keys.items():
        path = folder / f"sites/{SITES[site]}.csv"
        home = folder / f"site-{site}"
        try:
            records = read_site_data(scenario, site, [path]).train
        except NotReady as reason:
            agents[site] = agent_of(charter, site, key, reason, home)
            continue
        parts = site_parts(
            public_parts(scenario, run=charter.run), site, records, ledger=folder / f"{site}.jsonl"
        )
        agents[site] = agent_of(charter, site, key, parts, home)
    link = MemoryLink(agents)
    receipts = ReceiptBook(folder / "receipts.json", public)
    desk = Desk(charter, server, link, limit=limit, receipts=receipts)
    coordinate(server_parts(scenario, run=charter.run), desk, server, cell)
    return link, cell, (charter, keys[1].public_key().public_bytes_raw(), limit)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda path: path.unlink(),
        lambda path: spoil(path, "age", "Age"),
        lambda path: spoil(path, ",0,", ",seven,", count=1),
        lambda path: path.write_bytes(b"\xff\xfe"),
    ],
    ids=["missing file", "missing column", "bad value", "no text"],
)
@pytest.mark.parametrize("channel", ["", MASKED], ids=["plain", "masked"])
def test_nothing_but_not_ready_travels(
    channel: str, spoilt: Callable[[Path], None], tmp_path: Path
) -> None:
    write_tables(tmp_path)
    link, cell, (charter, key, limit) = run_with_a_bad_site(
        tmp_path, table_text(SGD + channel), spoilt
    )
    replies: list[Part] = []
    for data in link.passed:
        try:
            reply = opened(
                data,
                key,
                charter=charter.digest,
                direction=Direction.TO_COORDINATOR,
                site=1,
                limit=limit,
            )
        except Exception:  # noqa: S112 - envelopes of the others
            continue
        replies += reply.parts
    assert replies
    assert {part.kind for part in replies} <= {Kind.NOT_READY, Kind.DONE, Kind.RECEIPT}
    assert Kind.NOT_READY in {part.kind for part in replies}
    said = {part.content for part in replies if part.kind is not Kind.RECEIPT}
    assert said == {b""}
    assert [set(record.survivors) for record in cell.rounds()] == 2 * [{0, 2, 3}]
    if not channel:  # the set-up of a masked session has lost it before
        assert [record.absent for record in cell.rounds()] == 2 * [{1: "its site is not ready"}]


def test_every_bad_file_has_the_same_replies(tmp_path: Path) -> None:
    """The sizes and kinds of what leaves do not say what is wrong."""
    sizes = set()
    for number, (old, new) in enumerate([("age", "Age"), ("mild", "mild,1")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_tables(folder)
        link, *_ = run_with_a_bad_site(folder, table_text(), partial(spoil, old=old, new=new))
        sizes.add(tuple(len(data) for data in link.passed))
    assert len(sizes) == 1


def test_a_charter_names_the_schema_of_its_scenario_and_no_file(tmp_path: Path) -> None:
    write_tables(tmp_path)
    shared = Shared.of(table_text(), (), tmp_path)
    keys = {site: bytes([site]) * 32 for site in range(1, 5)}
    charter = charter_of(shared.text, keys={site - 1: key for site, key in keys.items()})
    assert charter.data_schema == schema_digest(charter.scenario())
    other = charter.model_copy(update={"data_schema": f"sha256:{'0' * 64}"})
    with pytest.raises(ScenarioError, match="names another data schema than its scenario has"):
        other.scenario()
    with pytest.raises(ScenarioError, match=r"data\.path names a file, and what sites share"):
        Shared(text=table_text(), overrides=()).scenario()


def test_site_toml_names_one_path(tmp_path: Path) -> None:
    write_own_path(tmp_path, Path("/srv/hospital/visits.csv"))
    assert own_paths(tmp_path) == (Path("/srv/hospital/visits.csv"),)
    (tmp_path / "site.toml").write_text('[data]\npath = "visits.csv"\n', encoding="utf-8")
    assert own_paths(tmp_path) == (tmp_path / "visits.csv",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data = ", "is not valid TOML"),
        ("", r"names no file of records: take the # from path"),
        ("data = { path = 3 }", r"data\.path: input should be a valid string, got 3"),
        ("data = { path = '' }", r"data\.path: string should have at least 1 character"),
        ("data = { path = 'a.csv', num_classes = 2 }", r"unknown key 'data\.num_classes'"),
    ],
)
def test_another_site_toml_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(text, encoding="utf-8")
    with pytest.raises(NotReady, match=sentence):
        own_paths(tmp_path)


def test_a_site_without_a_site_toml_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"cannot read .*site\.toml"):
        own_paths(tmp_path)


def test_the_page_shows_a_shared_part_and_a_site_toml_that_work(tmp_path: Path) -> None:
    shared, site = (block for block in blocks("toml", "docs/deploy.md") if "[data]" in block)
    scenario = Shared(text=SGD + shared, overrides=()).scenario()
    assert (scenario.clients, scenario.facts.task) == (4, Task(features=5, classes=2))
    (tmp_path / "site.toml").write_text(site, encoding="utf-8")
    assert own_paths(tmp_path) == (Path("/srv/hospital/visits.csv"),)
