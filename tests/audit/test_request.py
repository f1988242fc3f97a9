"""Requests: the command that repeats an audit, and what is refused before anything is read."""

import shlex
from pathlib import Path

import pytest

from securefl.audit.request import AuditRequest
from securefl.errors import ScenarioError
from tests.audit.asking import findings_of, request_for, write_scenarios


def test_the_command_names_its_folder_and_no_colluders_where_there_are_none() -> None:
    request = request_for("sgd.toml", "server", folder=Path("kept"))
    assert request.command == (
        "securefl audit sgd.toml --adversary server --target=0 --shadows=0 --seed=0 "
        "--no-exposure --out=kept"
    )


def test_the_command_of_all_parties_names_all_and_its_colluders() -> None:
    request = request_for("sgd.toml", "all", colluders=2)
    assert "--adversary all --colluders=2" in request.command
    assert request.of("server") == request_for("sgd.toml", "server", colluders=2)


def test_the_command_goes_through_a_shell() -> None:
    request = request_for("a b.toml", "server", 'server={step="fedavg"}')
    assert shlex.split(request.command)[:5] == [
        "securefl",
        "audit",
        "a b.toml",
        "--set",
        'server={step="fedavg"}',
    ]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (request_for("sgd.toml", "spy"), "--adversary: there is no 'spy'; known are .*, all"),
        (request_for("sgd.toml", "server", target=4), "--target: there is no client 4 among 4"),
        (request_for("sgd.toml", "server", target=-1), "--target: there is no client -1 among 4"),
        (
            request_for("sgd.toml", "clients", colluders=4),
            "--colluders: 4 of 4 clients cannot look at another one",
        ),
        (request_for("sgd.toml", "clients", colluders=0), "--colluders: 0 of 4 clients"),
        (request_for("sgd.toml", "all", colluders=4), "--colluders: 4 of 4 clients"),
        (
            request_for("sgd.toml", "server", shadows=1),
            "--shadows must be 0, or from 2 to 1024, got 1",
        ),
        (request_for("nowhere.toml", "server"), "cannot read nowhere.toml"),
        (request_for("sgd.toml", "server", "data.name=medmnist:chestmnist"), "several labels"),
        (request_for("sgd.toml", "server", "rehearsal.client=0"), "is a rehearsal already"),
        (
            request_for("sgd.toml", "server", "attack.name=zero", "attack.clients=[0]"),
            "client 0 is corrupt",
        ),
    ],
)
def test_a_request_that_cannot_be_audited_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: AuditRequest, message: str
) -> None:
    write_scenarios(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError, match=message):
        findings_of(request_)
    assert {file.name for file in tmp_path.iterdir()} == {"sgd.toml", "dp.toml"}
