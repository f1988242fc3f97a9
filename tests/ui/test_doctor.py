"""securefl doctor: an installation that works, and files that are not the published ones."""

import sys
from pathlib import Path

import pytest

from securefl.ui.doctor import examine
from tests.commands import call

SECUREFL = str(Path(sys.executable).with_name("securefl"))


def test_doctor_names_files_that_are_not_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path / "data"))
    verdict = {name: (good, finding) for name, good, finding in examine()}
    assert verdict["SECUREFL_DATA"] == (False, f"there is no folder {tmp_path / 'data'}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "unrelated.npz").write_bytes(b"mine")
    assert {name: (good, finding) for name, good, finding in examine()}["SECUREFL_DATA"] == (
        True,
        "0 published files, each with its MD5",
    )
    (tmp_path / "data" / "breastmnist_64.npz").write_bytes(b"cut")
    (tmp_path / "data" / "organmnist3d.npz").write_bytes(b"short")
    good, finding = {name: (good, finding) for name, good, finding in examine()}["SECUREFL_DATA"]
    assert not good
    assert finding == "not the published files: breastmnist_64.npz, organmnist3d.npz; delete them"


def test_doctor_finds_this_installation_healthy(tmp_path: Path) -> None:
    done = call("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "BAD" not in done.stdout
    assert "known answer 6.552" in done.stdout
