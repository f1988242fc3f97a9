"""The files next to a page of audits: written whole, the same twice, and none of another audit."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from securefl.audit.lines import Line, Verdict
from securefl.errors import RunFolderError
from securefl.ui.report import write_report
from tests.commands import call, refused
from tests.ui.report.document.subjects import (
    CHANCE,
    HOSTILE,
    LABELS_SHOWN,
    REFUTED,
    SCOPE,
    by,
    findings_of,
)

REPORT = {"findings.json", "junit.xml", "index.html"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the audits of two adversaries."""
    server = findings_of(tmp_path, CHANCE, exposures=(LABELS_SHOWN,))
    clients = findings_of(
        tmp_path,
        REFUTED,
        verdict=Verdict.VIOLATED,
        scope=by("clients"),
        name="audit-clients-1-shadows-0-seed-0",
    )
    server.write()
    clients.write()
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_report_of_audits_has_a_page_documents_findings_and_verdicts(folder: Path) -> None:
    write_report(folder)
    names = {path.name for path in (folder / "report").iterdir()}
    stems = {path.stem for path in folder.glob("audit-*.json")}
    assert names == REPORT | {f"{stem}.md" for stem in stems}
    audits = json.loads((folder / "report/findings.json").read_text())["audits"]
    assert [audit["name"] for audit in audits] == sorted(stems)
    # Each knows that the other one was asked.
    assert [[one["name"] for one in audit["not_tested"]["adversaries"]] for audit in audits] == [
        ["network"],
        ["network"],
    ]


def test_a_report_written_twice_has_the_same_bytes_and_nothing_else_changed(folder: Path) -> None:
    before = content(folder)
    write_report(folder)
    first = content(folder)
    write_report(folder)
    assert content(folder) == first
    assert {name: first[name] for name in before} == before


def test_files_of_audits_that_are_gone_are_removed(folder: Path) -> None:
    write_report(folder)
    own = folder / "report/notes.md"
    own.write_text("of the reader")
    (folder / "audit-clients-1-shadows-0-seed-0.json").unlink()
    write_report(folder)
    names = {path.name for path in (folder / "report").iterdir()}
    assert names == REPORT | {"audit-server-shadows-0-seed-0.md", "notes.md"}


def test_page_and_markdown_have_the_same_cells_lists_and_headings(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    articles = page[page.index("<article") : page.rindex("</article>")]
    documents = sorted((folder / "report").glob("*.md"))
    reader = MarkdownIt("commonmark").enable("table")
    text = "".join(reader.render(file.read_text(encoding="utf-8")) for file in documents)
    for tag, least in (("td", 150), ("th", 20), ("code", 2)):
        shown = _texts(articles, tag)
        assert shown == _texts(text, tag)
        assert len(shown) >= least
    # A document begins with the heading of a page, which here stands above all of them.
    assert _texts(articles, "h3") == _texts(text, "h2")
    sentences = {*_texts(articles, "li"), *_texts(articles, "dd")}
    assert all(html.escape(sentence, quote=False) in text for sentence in sentences)


def _texts(page: str, tag: str) -> list[str]:
    """The text of every element of a kind, without the tags in it."""
    inner = re.findall(f"<{tag}(?: [^>]*)?>(.*?)</{tag}>", page, re.S)
    return [html.unescape(re.sub("<.*?>", "", text)).strip() for text in inner]


def test_hostile_names_stay_text_on_the_page(tmp_path: Path) -> None:
    line = Line(HOSTILE + "\x00", Verdict.VIOLATED, HOSTILE, 0.9, 0.01)
    findings_of(tmp_path, line, verdict=Verdict.VIOLATED).write()
    page = write_report(tmp_path).read_bytes()
    assert b"<script>alert" not in page
    assert b"\x00" not in page
    assert html.escape("<script>alert(1)</script>").encode() in page


def test_no_folder_of_the_machine_is_in_any_file(tmp_path: Path) -> None:
    command = f"securefl audit {tmp_path}/d.toml --out={tmp_path}/out"
    rule = f"python:{tmp_path}/rule.py:f"
    line = replace(CHANCE, why=rule)
    scope = replace(SCOPE, scenario=(rule,))
    findings_of(tmp_path, line, command=command, scope=scope).write()
    write_report(tmp_path)
    for path in (tmp_path / "report").iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes(), path


def test_a_file_of_a_later_version_is_refused_with_a_sentence(folder: Path) -> None:
    file = folder / "audit-server-shadows-0-seed-0.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "version": 3}))
    before = content(folder)
    done = call("report", folder, cwd=folder)
    refused(done, 1, "was written by a later version of securefl; install that version")
    assert content(folder) == before


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 0.5},
        {"version": -1},
        {"version": True},
        {"version": None},
        {"scope": 3},
        {"scope": {}},
        {"scope": []},
        {"command": "\ud800"},
        {"lines": [None]},
        {"exposures": [3]},
        {"notes": "abc"},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_with_a_sentence(folder: Path, damage: dict[str, object]) -> None:
    file = folder / "audit-server-shadows-0-seed-0.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    with pytest.raises(RunFolderError, match="is damaged: it is not what an audit writes"):
        write_report(folder)
    assert not (folder / "report").exists()


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e999", pytest.param("9" * 400, id="huge"), "1.5", "-1"],
)
@pytest.mark.parametrize("key", ["auc", "true_positive_rate", "false_positive_rate", "allowed"])
def test_a_number_that_none_can_be_is_refused_with_a_sentence(
    folder: Path, key: str, number: str
) -> None:
    file = folder / "audit-server-shadows-0-seed-0.json"
    text, count = re.subn(rf'"{key}": [\d.]+', f'"{key}": {number}', file.read_text(), count=1)
    assert count == 1
    file.write_text(text)
    done = call("report", folder, cwd=folder)
    refused(done, 1, "is damaged: it is not what an audit writes")


def test_no_file_of_an_audit_is_a_device_or_too_large(folder: Path) -> None:
    (folder / "audit-x.json").symlink_to("/dev/zero")
    refused(call("report", folder, cwd=folder), 1, "audit-x.json is no file that an audit writes")
    (folder / "audit-x.json").unlink()
    with (folder / "audit-x.json").open("wb") as file:
        file.truncate(16_000_001)
    refused(call("report", folder, cwd=folder), 1, "audit-x.json is no file that an audit writes")


def test_a_folder_without_audits_gets_none_of_these_files(tmp_path: Path) -> None:
    (tmp_path / "audit-x.txt").write_text("{}")
    refused(call("report", tmp_path, cwd=tmp_path), 2, "holds no audits")
    assert not (tmp_path / "report").exists()
