"""Versions of a model on somebody's own records: a month of them after another."""

from pathlib import Path

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.runs import api
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked, new_records
from securefl.runs.refining.refine import refine
from securefl.runs.refining.series import Series
from securefl.scenario.scenario import parse_scenario
from tests.runs.refining.conftest import play

CLAIM = """
rounds = 2
training = { kind = "dp_sgd", batch = 1024 }
privacy = { epsilon = 3.0, records = [40, 40] }
weights = "equal"

[data]
name = "arrays"
path = "january.npz"
partition = "natural"
test_share = 0.3
num_classes = 2
sites = ["bern", "chur"]
"""
PLAIN = (
    CLAIM.replace("privacy = { epsilon = 3.0, records = [40, 40] }\n", "")
    .replace('training = { kind = "dp_sgd", batch = 1024 }', 'training = { kind = "sgd" }')
    .replace('sites = ["bern", "chur"]\n', "")
)


def month(folder: Path, name: str, *, seed: int, sites: tuple[str, ...] = ("bern", "chur")) -> Path:
    """Writes 60 records of each site whose class is the sign of their first number."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(60 * len(sites), 4)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int64)
    path = folder / f"{name}.npz"
    names = np.repeat(np.array(sites), 60)
    np.savez(path, train_features=features, train_labels=labels, train_sites=names)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for seed, name in enumerate(("january", "february", "public")):
        month(tmp_path, name, seed=seed)
    (tmp_path / "public.toml").write_text(
        'data = { name = "arrays", path = "public.npz", partition = "natural", test_share = 0.5, '
        "public = true }\n"
    )
    (tmp_path / "private.toml").write_text(
        'data = { name = "arrays", path = "public.npz", partition = "natural", test_share = 0.5 }\n'
    )
    return tmp_path


def series(home: Path, text: str) -> Series:
    api.run(parse_scenario(text, folder=home), home / "first", text=text)
    return Series(home / "first")


def test_a_path_alone_names_the_next_month(home: Path) -> None:
    made = series(home, CLAIM)
    public = new_records(home / "public.toml")
    asked = Asked(
        new_records(home / "february.npz"),
        ("privacy.epsilon=6.0", "privacy.records=[42, 44]"),
        parse_gate("auc >= previous - 0.9"),
        public,
    )
    outcome = refine(made, asked, play)
    assert outcome.decision.kind == "released"
    assert outcome.judged["records"] == "validation"
    before, now = made.cell(1).scenario, made.cell(2).scenario
    assert (before["data"]["path"], now["data"]["path"]) == ("january.npz", "february.npz")
    assert before["data"]["digest"] != now["data"]["digest"]
    assert now["privacy"]["records"] == [42, 44]


def test_no_path_of_this_machine_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(home, CLAIM)
    monkeypatch.chdir(home)
    asked = Asked(
        new_records(Path("february.npz")),
        ("privacy.epsilon=6.0",),
        parse_gate("auc >= 0.1"),
        new_records(Path("public.toml")),
    )
    made = Series(Path("first"))
    refine(made, asked, play)
    for file in (home / "first").rglob("*"):
        if file.is_file():
            assert str(home).encode() not in file.read_bytes(), file
    assert refine(made, asked, play).again


def test_the_same_path_with_other_records_is_another_version(home: Path) -> None:
    made = series(home, PLAIN)
    asked = Asked(new_records(home / "february.npz"))
    assert refine(made, asked, play).version == 2
    assert refine(made, asked, play).again
    month(home, "february", seed=9)
    assert refine(made, asked, play).version == 3


def test_under_a_claim_validation_records_must_be_declared_public(home: Path) -> None:
    made = series(home, CLAIM)
    asked = Asked(
        new_records(home / "february.npz"),
        ("privacy.epsilon=6.0",),
        parse_gate("auc >= 0.1"),
        new_records(home / "private.toml"),
    )
    with pytest.raises(ScenarioError, match=r"declare data\.public = true if everybody may have"):
        refine(made, asked, play)
    assert made.versions == [1]


def test_records_of_another_form_or_of_other_sites_are_refused(home: Path) -> None:
    made = series(home, CLAIM)
    wide = np.zeros((8, 5), np.float32)
    labels, sites = np.arange(8) % 2, np.repeat(["bern", "chur"], 4)
    np.savez(home / "wide.npz", train_features=wide, train_labels=labels, train_sites=sites)
    asked = Asked({"path": str(home / "wide.npz")}, ("privacy.epsilon=6.0",))
    with pytest.raises(ScenarioError, match="does not fit these records: they have other"):
        refine(made, asked, play)
    other = month(home, "other", seed=4, sites=("bern", "geneva"))
    asked = Asked({"path": str(other), "sites": ["bern", "geneva"]}, ("privacy.epsilon=6.0",))
    with pytest.raises(ScenarioError, match=r"has data\.sites = \['bern', 'chur'\], here it is"):
        refine(made, asked, play)
    assert made.versions == [1]


def test_ewc_needs_the_earlier_records_unchanged_and_the_same_sites(home: Path) -> None:
    made = series(home, PLAIN)
    ewc = ("training.algorithm=ewc", "training.strength=1.0", "weights=equal")
    swapped = month(home, "swapped", seed=5, sites=("aarau", "bern"))
    with pytest.raises(ScenarioError, match="needs the sites of version 1 in the same order"):
        refine(made, Asked({"path": str(swapped)}, ewc), play)
    month(home, "january", seed=7)
    with pytest.raises(ScenarioError, match="needs the records of version 1 once more: data: the"):
        refine(made, Asked(new_records(home / "february.npz"), ewc), play)
    assert made.versions == [1]


def test_under_a_claim_other_records_are_not_dealt_anew(home: Path) -> None:
    dealt = CLAIM.replace('partition = "natural"', 'partition = "iid"\nclients = 2')
    made = series(home, dealt)
    with pytest.raises(ScenarioError, match="'iid' deals other records anew: a record that comes"):
        refine(made, Asked(new_records(home / "february.npz"), ("privacy.epsilon=6.0",)), play)
    # The same records are dealt to the same clients.
    assert refine(made, Asked({"share": 0.9}, ("privacy.epsilon=6.0",)), play).version == 2
