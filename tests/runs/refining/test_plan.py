"""What a refinement is asked for: options that fit together, and paths that are found."""

from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked, new_records

GATE = parse_gate("accuracy >= 0.5")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Asked({}, noise=1.0, records=9), "--gate-noise has no effect without --gate"),
        (lambda: Asked({}, records=9), "--gate-records has no effect without --gate"),
        (lambda: Asked({}, validation={}), "--validation has no effect without --gate"),
        (lambda: Asked({}, (), GATE, noise=1.0), "--gate-noise and --gate-records go together"),
        (lambda: Asked({}, (), GATE, records=9), "--gate-noise and --gate-records go together"),
        (
            lambda: Asked({}, (), GATE, {}, 1.0, 9),
            "--validation records are public and need no --gate-noise",
        ),
        (lambda: Asked({}, (), GATE, None, 0.01, 9), "--gate-noise must be from 0.1 to 1e4"),
        (
            lambda: Asked({}, (), parse_gate("auc >= 0.5"), None, 1.0, 9),
            "auc has no such bound, so use accuracy",
        ),
    ],
    ids=range(8),
)
def test_options_without_effect_are_refused(make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(ScenarioError, match=sentence.replace(".", r"\.")):
        make()


def test_a_path_is_a_table_of_its_own_and_paths_in_a_file_are_seen_from_there(
    tmp_path: Path,
) -> None:
    assert new_records(tmp_path / "x.npz") == {"path": str(tmp_path / "x.npz")}
    file = tmp_path / "deep" / "new.toml"
    file.parent.mkdir()
    file.write_text('[data]\npath = "../x.npz"\nschema = "s.toml"\nshare = 0.5\n')
    assert new_records(file) == {
        "path": str(tmp_path / "x.npz"),
        "schema": str(tmp_path / "deep" / "s.toml"),
        "share": 0.5,
    }


@pytest.mark.parametrize("text", ["", "rounds = 3", "data = 3", "[data]\n[model]\nname = 'mlp'"])
def test_a_file_holds_a_table_of_records_and_nothing_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "new.toml").write_text(text)
    with pytest.raises(ScenarioError, match="and nothing else; change other keys with --set"):
        new_records(tmp_path / "new.toml")
