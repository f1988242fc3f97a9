"""Own records from `coordinate init` to `site check`: what a site's people read, and they alone."""

from pathlib import Path

import pytest

from securefl.files import read_lines
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.federation import admit
from securefl.runs.deployed.invitation import INVITATION, Invitation
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.own_records import SITE
from securefl.ui import site as ui
from tests.commands import call, refused, scenario_file
from tests.runs.deployed.own_sites import DP, MASKED, SGD, SITES, table_text, write_tables
from tests.runs.deployed.sites import allow


def joined(folder: Path, text: str) -> Charter:
    """Makes the coordinator's folder by its command, and four sites that have joined."""
    write_tables(folder)
    scenario_file(folder, text)
    done = call(
        *("coordinate", "init", "s.toml", "--address", "127.0.0.1:1", "--out", "fed"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    invitation = Invitation.read(folder / "fed" / INVITATION)
    assert "sites/" not in invitation.shared.text
    assert "visits.toml" not in invitation.shared.text
    requests = [join(invitation, f"site-{site}", folder / str(site)) for site in range(4)]
    for number, site in enumerate(SITES):
        allow(
            folder / str(number),
            budget="{ epsilon = inf }",
            channel='{ allowed = ["masked"], min_cohort = 3 }',
        )
        path = folder / f"sites/{site}.csv"
        (folder / str(number) / SITE).write_text(f'data = {{ path = "{path}" }}\n')
    return admit(folder / "fed", requests, days=1.0, deadline=5.0)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("age,", "Age,", r"bern.csv has no column 'age'; did you mean 'Age'?"),
        ("\nbern-0,", "\nbern-0,9", "bern.csv, line 2: column 'age' is outside its declared range"),
        ("\nbern-0,", "\nbern-0,x", "bern.csv, line 2: column 'age' is not a number"),
        (",secret\n", ",changed\n", "the files of records have changed since the charter"),
    ],
)
def test_a_check_names_what_differs_to_the_sites_people_and_nobody_else(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    charter = joined(tmp_path, table_text(SGD + MASKED))
    approve_charter(tmp_path / "0", charter)
    done = call("site", "check", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training records; the files that were approved" in done.stdout
    path = tmp_path / "sites/bern.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    done = call("site", "check", "0", cwd=tmp_path)
    refused(done, 2, sentence)
    assert "records: NOT READY" in done.stdout
    for file in (tmp_path / "fed").rglob("*.json*"):
        assert "bern.csv" not in file.read_text(), file


def test_a_file_that_is_not_ready_is_not_approved(tmp_path: Path) -> None:
    charter = joined(tmp_path, table_text(SGD + MASKED))
    charter.write(tmp_path / "charter.json")
    (tmp_path / "sites/chur.csv").unlink()
    done = call("site", "approve", "1", "charter.json", cwd=tmp_path)
    refused(done, 2, "there is no file")
    assert not (tmp_path / "1/approval.json").exists()
    (tmp_path / "2" / SITE).write_text("")
    done = call("site", "approve", "2", "charter.json", cwd=tmp_path)
    refused(done, 2, "site.toml names no file of records")


def test_with_a_claim_an_approval_depends_on_no_record(tmp_path: Path) -> None:
    """The check alone says that a value is no number, for a person to decide."""
    text = DP.replace('noise = "seeded", ', "") + MASKED
    charter = joined(tmp_path, table_text(text))
    path = tmp_path / "sites/bern.csv"
    path.write_text(path.read_text().replace("\nbern-0,", "\nbern-0,x", 1))
    approve_charter(tmp_path / "0", charter)
    done = call("site", "check", "0", cwd=tmp_path)
    refused(done, 2, "bern.csv, line 2: column 'age' is not a number")
    assert read_lines(tmp_path / "0/audit.jsonl")


def test_a_site_template_asks_for_the_path_of_own_records(tmp_path: Path) -> None:
    write_tables(tmp_path)
    scenario_file(tmp_path, table_text())
    call(
        *("coordinate", "init", "s.toml", "--address", "127.0.0.1:1", "--out", "fed"),
        cwd=tmp_path,
    )
    join(Invitation.read(tmp_path / "fed" / INVITATION), "bern", tmp_path / "bern")
    assert '# path = "records.csv"' in (tmp_path / "bern" / SITE).read_text()


def test_a_start_says_at_once_that_records_are_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = joined(tmp_path, table_text(SGD + MASKED))
    approve_charter(tmp_path / "0", charter)
    path = tmp_path / "sites/bern.csv"
    path.write_text(path.read_text().replace(",secret\n", ",changed\n", 1))
    monkeypatch.setattr(ui, "serve_coordinator", lambda *words, **options: None)
    done = call("site", "start", "0", cwd=tmp_path)
    refused(done, 2, "the files of records have changed since the charter")
    assert "NOT READY: the files of records have changed" in done.stdout
