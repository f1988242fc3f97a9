"""The whole page: its numbers, its bytes, hostile names, damaged folders, size and time."""

import base64
import csv
import hashlib
import json
import math
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

import pytest

from securefl.errors import RunFolderError, ScenarioError, SecureflError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import event_from_json
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import parse_scenario
from securefl.ui.report import write_report
from tests.ui.report.folders import CLAIM, Made, claimed, made, many
from tests.ui.report.reading import read, rows_of

HOSTILE = (
    "<script>alert(1)</script> </style> $x^2$ \N{HOSPITAL} \u202eabc עברית "
    "\"a\" & 'b' | {{ 7 * 7 }}"
)


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def values(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(row, metric) -> seed -> value, as results.csv has it."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["site"] == "" and line["value"]:
                place = found.setdefault((line["label"], line["metric"]), {})
                place[line["seed"]] = float(line["value"])
    return found


def with_error(numbers: Iterable[float]) -> str:
    numbers = list(numbers)
    if len(numbers) == 1:
        return f"{numbers[0]:.3f}"
    return f"{mean(numbers):.3f} ± {stdev(numbers) / math.sqrt(len(numbers)):.3f}"


def test_every_number_of_the_rows_and_cells_stands_in_results_csv(tmp_path: Path) -> None:
    folder = many(tmp_path / "study", rows=4, seeds=3)
    page = read(page_of(folder))
    known = values(folder)
    titles = {"accuracy": "accuracy", "bal. acc.": "balanced_accuracy", "AUC": "auc"}
    head, *rows = page.tables["table-rows"]
    assert len(rows) == 4
    for row in (dict(zip(head, cells, strict=True)) for cells in rows):
        for title, metric in titles.items():
            assert row[title] == with_error(known[row["row"], metric].values())
        assert row["n"] == "3"
        assert row["state"].strip() == "3 done"
        spent = known.get((row["row"], "epsilon"))
        assert row["epsilon"] == (f"{max(spent.values()):.2f}" if spent else "none")
        sent = [
            sum(known[row["row"], f"bytes_{way}"][seed] for way in ("up", "down"))
            for seed in ("0", "1", "2")
        ]
        assert row["bytes"] == f"{mean(sent) / 1e3:.1f} kB"
    head, *cells = page.tables["table-cells"]
    assert len(cells) == 12
    for cell in (dict(zip(head, texts, strict=True)) for texts in cells):
        for title, metric in titles.items():
            assert cell[title] == f"{known[cell['row'], metric][cell['seed']]:.3f}"


def test_the_csv_behind_a_table_has_all_digits(tmp_path: Path) -> None:
    folder = many(tmp_path / "study", rows=2, seeds=3)
    known = values(folder)
    rows = rows_of(read(page_of(folder)).downloads["rows.csv"])
    for row in rows:
        accuracies = list(known[row["row"], "accuracy"].values())
        assert float(row["accuracy"]) == mean(accuracies)
        assert float(row["standard error of accuracy"]) == stdev(accuracies) / math.sqrt(3)
        assert row["states"] == "3 done"
    assert [row["noise"] for row in rows] == ["", "system"]


def test_what_clients_spent_is_what_their_ledgers_hold(tmp_path: Path) -> None:
    text = (
        'rounds = 1\ntraining = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }\n'
        "privacy = { epsilon = 3.0, noise = 'system' }\n"
    )
    folder = tmp_path / "run"
    api.run(parse_scenario(text), folder)
    head, *rows = read(page_of(folder)).tables["table-ledgers"]
    ((_, _, cell),) = RunFolder.open(folder).cells()
    assert [row[head.index("client")] for row in rows] == ["0", "1", "2", "3"]
    for row in rows:
        shown = dict(zip(head, row, strict=True))
        entries = read_entries(cell.ledgers / f"{shown['client']}.jsonl")
        events = [event_from_json(entry["event"]) for entry in entries if entry["event"]]
        spent = epsilon({event: events.count(event) for event in events}, delta=1e-5)
        assert shown["epsilon spent"] == f"{spent:.2f}"
        assert shown["left"] == f"{max(0.0, 3.0 - spent):.2f}"


def test_the_same_folder_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    folder = many(tmp_path / "study", rows=2, seeds=2)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    shutil.copytree(folder, tmp_path / "elsewhere" / "study")
    assert write_report(tmp_path / "elsewhere" / "study").read_bytes() == first


def test_nothing_but_the_page_is_written(tmp_path: Path) -> None:
    folder = many(tmp_path / "study", rows=2, seeds=2)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert write_report(folder) == folder / "report" / "index.html"
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del after[folder / "report" / "index.html"]
    assert after == before


def test_a_page_lies_in_no_folder_behind_a_link(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    (tmp_path / "other").mkdir()
    (folder / "report").symlink_to(tmp_path / "other")
    with pytest.raises(RunFolderError, match="report is a link"):
        write_report(folder)
    assert not list((tmp_path / "other").iterdir())


def test_names_of_users_stay_text_everywhere(tmp_path: Path) -> None:
    cells = [Made(HOSTILE, seed, levels={HOSTILE: HOSTILE}) for seed in range(2)]
    title = json.dumps(HOSTILE, ensure_ascii=False)
    folder = made(tmp_path / "a", cells, study="s", text=f"title = {title}\n# {HOSTILE}\n")
    (folder / "tables.md").write_text(f"# t\n\n## {HOSTILE}\n\n| | a |\n|---|---|\n| `<b>` | 1 |\n")
    text = page_of(folder)
    assert text.count("<script>") == 1
    assert "<b>`" not in text
    page = read(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("style") == 1
    assert page.tables["table-rows"][1][0] == HOSTILE
    assert "49" not in page.text
    # The csv of a spreadsheet computes nothing.
    made(tmp_path / "b", [Made("=1+1")])
    (row,) = rows_of(read(page_of(tmp_path / "b")).downloads["rows.csv"])
    assert row["row"] == "'=1+1"


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    file = folder / "resolved.json"
    file.write_text(file.read_text().replace('"one"', '"\\ud800"'))
    assert read(page_of(folder)).tables["table-rows"][1][0] == "\ufffd"


def test_a_page_loads_nothing_and_runs_its_own_script_alone(tmp_path: Path) -> None:
    text = page_of(made(tmp_path / "run", [Made("one")]))
    ((policy,), (script,)) = (
        re.findall(r'Content-Security-Policy" content="([^"]*)"', text),
        re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL),
    )
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in policy
    links = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    # A drawing names the language that it is written in; that is no address that anybody opens.
    names = re.compile(r'xmlns(?::xlink)?="http://www\.w3\.org/[^"]*"')
    assert not re.search(r"@import|url\((?!#)|https?://", names.sub("", text))


def test_paths_hosts_and_tracebacks_stay_out(tmp_path: Path) -> None:
    reason = (
        'Traceback (most recent call last):\n  File "/home/jane/securefl/x.py", line 3, in f\n'
        "ValueError: record 17 has age 93\n"
    )
    failed = {"state": "failed", "run": "r", "reason": reason}
    label = "/home/jane/secret/records.csv"
    folder = made(
        tmp_path / "run",
        [Made("one", status=failed, metrics=None), Made(label, 1)],
        text="# from /home/jane/secret/records.csv at http://hospital-7.example:80/x\n",
    )
    text = page_of(folder)
    downloads = read(text).downloads
    assert downloads
    for private in ("jane", "age 93", "Traceback", "hospital-7", str(tmp_path)):
        assert private not in text
        # Tables travel inside of links.
        assert not [name for name, held in downloads.items() if private in held]
    assert "ValueError" in text
    assert "…/records.csv" in text


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("resolved.json", "{", "is damaged: it is empty, or not JSON"),
        ("resolved.json", '{"cells": {}}', "is damaged, or was made by another version"),
        ("env.json", "[]", "does not hold a JSON object"),
        ("tables.md", b"\xff", "is damaged: it is not UTF-8 text"),
        ("cells/*/status.json", '{"state": "asleep"}', "is damaged: it names no state"),
        ("cells/*/metrics.json", '{"accuracy": "good"}', "is damaged: accuracy is 'good'"),
        ("cells/*/metrics.json", "", "is damaged: it is empty, or not JSON"),
        ("cells/*/transcript.jsonl", "[]\n", "is damaged: a line is not a JSON object"),
    ],
)
def test_a_damaged_folder_is_one_sentence(
    tmp_path: Path, file: str, content: str | bytes, sentence: str
) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    write_report(folder)
    before = page_of(folder)
    where, _, name = file.rpartition("/")
    for place in list(folder.glob(where)) if where else [folder]:
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SecureflError, match=re.escape(sentence)):
        write_report(folder)
    assert (folder / "report" / "index.html").read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["uses"][0].update(cell="nowhere"),
        lambda values: next(iter(values["cells"].values())).pop("data"),
        lambda values: next(iter(values["cells"].values())).update(privacy=3),
        lambda values: values["uses"][0].update(label=5, part="a"),
    ],
)
def test_values_of_another_kind_are_one_sentence(tmp_path: Path, change: object) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    content = json.loads((folder / "resolved.json").read_text())
    assert callable(change)
    change(content)
    (folder / "resolved.json").write_text(json.dumps(content))
    if content["uses"][0]["label"] == 5:
        assert read(page_of(folder)).tables["table-rows"][1][0] == "5, a"
        return
    with pytest.raises(RunFolderError, match=r"run is damaged: a value of resolved\.json"):
        write_report(folder)


def test_a_cell_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    file = folder / "resolved.json"
    (name,) = (path.name for path in (folder / "cells").iterdir())
    file.write_text(file.read_text().replace(name, "../../other"))
    with pytest.raises(RunFolderError, match="a cell lies outside of it"):
        write_report(folder)


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is not a run folder, and holds no audits"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_truncated_record_of_rounds_is_no_matter(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    (file,) = folder.glob("cells/*/rounds.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    assert "Accuracy is 0.750" in page_of(folder)


def test_results_that_are_not_finite_are_not_measured_and_said_first(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    (file,) = folder.glob("cells/*/metrics.json")
    metrics = dict.fromkeys(("accuracy", "balanced_accuracy", "auc", "majority"), math.nan)
    metrics |= {"mae": math.inf, "rmse": math.nan, "r2": -math.inf}
    file.write_text(json.dumps(json.loads(file.read_text()) | metrics))
    page = read(page_of(folder))
    assert "The run gave results that are not finite (NaN or infinite)" in page.text
    assert {"not measured"} == set(page.tables["table-rows"][1][3:6])
    assert "nan" not in page.text.lower().replace("nan or infinite", "")


def test_a_claim_that_is_not_finite_is_never_no_claim(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one", overrides=CLAIM, metrics=claimed())])
    (file,) = folder.glob("cells/*/metrics.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"epsilon": math.inf}))
    head, row = read(page_of(folder)).tables["table-rows"]
    assert row[head.index("epsilon")] == "inf"


@pytest.mark.parametrize(("rows", "seeds"), [(500, 1), (25, 20)])
def test_a_page_of_500_cells_is_small_and_soon_written(
    tmp_path: Path, rows: int, seeds: int
) -> None:
    folder = many(tmp_path / "study", rows=rows, seeds=seeds)
    before = time.process_time()
    page = write_report(folder)
    # The goals are 1 MB and 5 seconds; figures come on top, and so do the imports of a new process.
    assert page.stat().st_size < 500_000
    assert time.process_time() - before < 2.5
    assert len(read(page.read_text(encoding="utf-8")).tables["table-rows"]) == rows + 1


def test_the_page_of_one_run_is_small(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one", overrides=CLAIM, metrics=claimed())])
    assert write_report(folder).stat().st_size < 40_000


def test_the_page_reads_cells_and_not_a_table_that_somebody_edited(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("one")])
    before = page_of(folder)
    (folder / "results.csv").write_text("cell,label\nx,good\n")
    assert page_of(folder) == before
