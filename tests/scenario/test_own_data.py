"""Scenarios on a user's own records: what is known before they are read, and when they change."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import securefl
from securefl.audit.knowledge import Watcher
from securefl.audit.replay import replay
from securefl.audit.threats import THREATS
from securefl.data.own import digest
from securefl.errors import DataError, PluginError, ScenarioError
from securefl.runs.folder import RunFolder
from securefl.runs.names import cell_hash
from securefl.scenario import own_data
from securefl.scenario.assemble.data import load_data
from securefl.scenario.plugins.find import Group, find
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.summary import summary

CLAIM = ("training.kind=dp_sgd", "training.batch=8", "privacy.records=[40, 40, 40]")
DECLARED = ("data.num_classes=2", 'data.sites=["bern", "chur", "wil"]')


def arrays(folder: Path, name: str = "own.npz", *, records: int = 90, **more: Any) -> Path:
    """Rows of five numbers in two classes at three sites."""
    random = np.random.default_rng(0)
    labels = np.arange(records) % 2
    values = {
        "train_features": random.normal(size=(records, 5)).astype(np.float32) + labels[:, None],
        "train_labels": labels,
        "train_sites": np.array(["bern", "chur", "wil"])[np.arange(records) % 3],
        **more,
    }
    np.savez(folder / name, **{key: value for key, value in values.items() if value is not None})
    return folder / name


def scenario(folder: Path, *overrides: str, data: str = "") -> Scenario:
    data = data or 'name = "arrays", path = "own.npz", test_share = 0.3'
    text = f'rounds = 2\ndata = {{ {data} }}\ntraining = {{ kind = "sgd" }}\n'
    return parse_scenario(text, overrides=overrides, folder=folder)


def test_own_records_train_and_are_judged_site_by_site(tmp_path: Path) -> None:
    arrays(tmp_path)
    made = scenario(tmp_path)
    assert (made.partition, made.clients, made.weights) == ("natural", 3, "reported")
    result = securefl.run(made, tmp_path / "r")
    assert set(result["sites"]) == {"bern", "chur", "wil"}
    data = load_data(made)
    assert sum(len(site.train) for site in data.sites) + len(data.test) == 90


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.partition=pooled",),
        ("data.partition=dirichlet", "data.clients=4"),
        ("data.partition=iid", "data.clients=4"),
        ("data.held_out=1",),
        ("data.only=2",),
        ("data.most=9",),
        ("data.share=0.5",),
        ("data.label_noise=0.2",),
        ("data.test_on=validation", "data.fold=2"),
        ("rehearsal.client=1",),
        ("channel.kind=masked",),
        (
            "channel.kind=masked",
            "weights=reported",
            "channel.reveal_counts=true",
            "channel.max_weight=90",
        ),
    ],
)
def test_everything_that_published_sets_can_do_works_for_own_records(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    arrays(tmp_path)
    made = scenario(tmp_path, *overrides, "rounds=1")
    assert make_scenario(made.resolved()).resolved() == made.resolved()
    assert securefl.run(made, tmp_path / "r")["rounds"] == 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("data.path=",), "data.path: arrays needs it"),
        (('data.class_names=["a", "b"]',), "data.class_names has no effect with arrays"),
        (("data.size=28",), "data.size has no effect with arrays; remove it"),
        (("data.test_share=",), "set data.test_share"),
        (("data.name=aray",), "there is no 'aray', did you mean 'arrays'"),
        (("data.partition=natrual",), "did you mean 'natural'"),
        (("channel.kind=ckks", "weights=reported"), "channel.max_weight: nobody has published"),
        (("weights=declared",), "has no published sizes: declare privacy.records"),
        (CLAIM, "declare data.num_classes"),
        ((*CLAIM, "data.num_classes=2"), "declare data.sites"),
        ((*CLAIM[:2], *DECLARED), "has no published sizes: declare privacy.records"),
        ((*CLAIM[:2], *DECLARED, "privacy.records=[9]"), "one entry a client: 3 clients"),
        (("data.num_classes=1",), "data.num_classes: input should be greater than or equal to 2"),
    ],
)
def test_a_key_that_is_missing_or_means_nothing_is_refused(
    tmp_path: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    arrays(tmp_path)
    with pytest.raises(ScenarioError, match=sentence.replace("[", r"\[")) as refused:
        load_data(scenario(tmp_path, *overrides))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*own\.npz"):
        scenario(tmp_path)


@pytest.mark.parametrize("path", ["pipe.npz", "*.csv", "own.csv"])
def test_what_may_never_end_is_not_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "own.csv").touch()
    for name in ("pipe.npz", "pipe.csv"):
        os.mkfifo(tmp_path / name)
    form = '"arrays"' if path.endswith("npz") else '"table", schema = "/dev/zero"'
    with pytest.raises(ScenarioError, match="is neither a file nor a folder"):
        scenario(tmp_path, data=f'name = {form}, path = "{path}", test_share = 0.3')


def test_under_a_claim_nothing_that_a_scenario_says_depends_on_a_record(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = scenario(arrays(tmp_path).parent, *CLAIM, *DECLARED)
    odd = {
        "train_features": np.full((90, 5), np.nan, dtype=np.float32),
        "train_labels": random.integers(-5, 9, 90),
        "train_sites": np.array(["bern", "elsewhere"])[np.arange(90) % 2],
    }
    for changed in ({"records": 60}, odd):
        arrays(tmp_path, **changed)
        after = scenario(tmp_path, *CLAIM, *DECLARED)
        assert after.facts.plan_without_noise(0) == before.facts.plan_without_noise(0)
        names = ("digest",)
        one, other = (
            {key: value for key, value in made.resolved()["data"].items() if key not in names}
            for made in (before, after)
        )
        assert one == other
        load_data(after)


def test_under_a_claim_one_record_of_a_file_moves_its_clients_sum_by_one_clip_at_most(
    tmp_path: Path,
) -> None:
    """The attack on the claim: the file lacks one record; everything else is played again."""
    records = 90
    batch = 200  # all records of a client, and the divisor of their sum
    keys = ("training.kind=dp_sgd", f"training.batch={batch}", "training.lr=1.0", *DECLARED)
    privacy = (
        'privacy={noise="seeded", noise_multiplier=1.0, records=[200, 200, 200]}',
        "data.share=0.8",
        "data.label_noise=0.3",
        "rounds=1",
        'weights="equal"',
    )
    random = np.random.default_rng(2)
    labels = np.arange(records) % 2
    everything: dict[str, Any] = {
        "train_features": random.normal(size=(records, 5)).astype(np.float32),
        "train_labels": labels,
        "train_sites": np.array(["bern", "chur", "wil"])[np.arange(records) % 3],
        # Patients of several records each, across sites.
        "train_groups": random.integers(0, 40, records),
    }

    def sums(removed: int | None) -> list[torch.Tensor]:
        left = np.arange(records) != (-1 if removed is None else removed)
        arrays(tmp_path, **{key: values[left] for key, values in everything.items()})
        made = scenario(tmp_path, *keys, *privacy)
        watchers = [Watcher(THREATS["server"], (), client, "plain") for client in range(3)]
        played = replay(made, watchers, on_round=lambda record: None)
        moves = [knowledge.moves[0].moved for knowledge in played.knowledge]
        return [move.double() * batch for move in moves if move is not None]

    whole = sums(None)
    distances = []
    for removed in range(0, records, 7):
        changed = [
            float((one - other).norm()) for one, other in zip(whole, sums(removed), strict=True)
        ]
        # No client but the record's own notices, and that one by a clip at most.
        assert sum(distance > 0 for distance in changed) <= 1
        assert max(changed) <= 1 + 1e-4
        distances.append(max(changed))
    # Some records judge, or their coin leaves them out: those move nothing.
    assert min(distances) == 0
    assert max(distances) > 0.5


def test_validate_names_what_a_claim_takes_as_declared(tmp_path: Path) -> None:
    arrays(tmp_path)
    words = summary(scenario(tmp_path, *CLAIM, *DECLARED))
    assert "the declared privacy.records (training records of each client), data.num_cl" in words
    assert "`securefl data check` of this scenario tells you" in words
    assert "declared" not in summary(parse_scenario("")).replace("weights declared", "")


def test_a_cell_is_named_by_the_records_and_not_by_their_place(tmp_path: Path) -> None:
    arrays(tmp_path)
    arrays(tmp_path, "copy.npz")
    names = [
        cell_hash(scenario(tmp_path, f"data.path={path}").resolved())
        for path in ("own.npz", "copy.npz", str(tmp_path / "own.npz"))
    ]
    assert len(set(names)) == 1
    arrays(tmp_path, train_labels=np.arange(90) % 2 == 0)
    assert cell_hash(scenario(tmp_path).resolved()) != names[0]


def test_a_run_does_not_go_on_with_changed_records(tmp_path: Path) -> None:
    arrays(tmp_path)
    resolved = scenario(tmp_path).resolved()
    securefl.run(make_scenario(resolved), tmp_path / "r")
    assert str(tmp_path) not in (tmp_path / "r" / "resolved.json").read_text()
    arrays(tmp_path, records=89)
    with pytest.raises(ScenarioError, match="are not those that this run began with"):
        make_scenario(resolved)
    with pytest.raises(ScenarioError, match="another scenario: the records were changed since"):
        securefl.run(scenario(tmp_path), tmp_path / "r")


def test_a_digest_needs_this_users_key_unless_the_records_are_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays(tmp_path)
    mine = scenario(tmp_path).resolved()["data"]["digest"]
    public = scenario(tmp_path, "data.public=true").resolved()["data"]["digest"]
    monkeypatch.setenv("SECUREFL_CACHE", str(tmp_path / "another user"))
    monkeypatch.setattr(own_data, "_sources", type(own_data._sources)())
    assert scenario(tmp_path).resolved()["data"]["digest"] != mine
    assert scenario(tmp_path, "data.public=true").resolved()["data"]["digest"] == public
    assert (tmp_path / "another user" / digest.KEY_FILE).stat().st_mode & 0o077 == 0


# --- functions


def function(folder: Path, body: str) -> None:
    text = f"import numpy as np\nimport time\n\ndef load(n=40, **more):\n    {body}\n"
    (folder / "mine.py").write_text(text)
    trust(folder)


SITES = (
    "x = np.arange(n * 2.0).reshape(n, 2); y = x[:, 0] % 4 > 1; return {'a': (x, y), 'b': (x, y)}"
)
DOOR = 'name = "python:mine.py:load", test_share = 0.3'


def test_further_keys_are_the_functions_arguments(tmp_path: Path) -> None:
    function(tmp_path, SITES.replace("return", "assert more == {'deep': {'er': 1}}; return"))
    made = scenario(tmp_path, data=f"{DOOR}, n = 12, deep = {{ er = 1 }}")
    assert made.resolved()["data"]["arguments"] == {"n": 12, "deep": {"er": 1}}
    assert make_scenario(made.resolved()).resolved() == made.resolved()
    assert len(load_data(made).pooled().sites[0].train) < 24


@pytest.mark.parametrize(
    ("body", "data", "error", "sentence"),
    [
        ("return 3", DOOR, DataError, "python:mine.py:load returned"),
        ("raise KeyError('no')", DOOR, PluginError, r"raised KeyError: 'no' \(mine.py, line 5\)"),
        (SITES, f"{DOOR}, path = 'x'", ScenarioError, "belongs into data.arguments"),
        ("time.sleep(9)", DOOR, PluginError, "did not return within 0.2 s"),
    ],
)
def test_a_function_at_fault_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    data: str,
    error: type[Exception],
    sentence: str,
) -> None:
    monkeypatch.setattr(own_data, "LOADER_SECONDS", 0.2 if "sleep" in body else 60.0)
    function(tmp_path, body)
    before = time.monotonic()
    with pytest.raises(error, match=sentence):
        scenario(tmp_path, data=data)
    assert time.monotonic() - before < 60


def test_an_argument_that_a_function_does_not_take_is_refused(tmp_path: Path) -> None:
    function(tmp_path, SITES)
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace(", **more", ""))
    with pytest.raises(ScenarioError, match="got an unexpected keyword argument 'm'"):
        scenario(tmp_path, data=f"{DOOR}, m = 3")


def test_under_a_claim_the_author_declares_that_preparation_is_per_record(tmp_path: Path) -> None:
    function(tmp_path, SITES)
    claim = ("training.kind=dp_sgd", "privacy.records=[40, 40]")
    declared = ("data.num_classes=2", 'data.sites=["a", "b"]')
    with pytest.raises(ScenarioError, match=r"data\.per_record: a DP claim needs"):
        scenario(tmp_path, *claim, *declared, data=DOOR)
    made = scenario(tmp_path, *claim, *declared, "data.per_record=true", data=DOOR)
    assert made.resolved()["data"]["per_record"] is True


def test_a_function_that_returns_other_records_in_another_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function(tmp_path, SITES.replace("n * 2.0", "n * 2.0").replace("% 4 > 1", "% 4 > len(N)"))
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(
        source.replace("import time", "import os\nN = os.environ['COUNT']")
    )
    monkeypatch.setenv("COUNT", "x")
    resolved = scenario(tmp_path, data=DOOR).resolved()
    # Another process has read nothing yet.
    monkeypatch.setattr(own_data, "_sources", type(own_data._sources)())
    module = find(Group.DATA, "python:mine.py:load", tmp_path).entry
    monkeypatch.setitem(module.__wrapped__.__globals__, "N", "xx")
    with pytest.raises(ScenarioError, match="are not those that this run began with"):
        make_scenario(resolved)


def test_the_python_door_gives_the_numbers_of_the_same_set_of_ours(tmp_path: Path) -> None:
    text = (
        "from securefl.data.heart import load_heart\n\n"
        "def load():\n    return load_heart(partition='natural', split_seed=0)\n\n"
        "from securefl.learning.models.linear import logistic\n\n"
        "def build(task):\n    return logistic(task, generator=None)\n"
    )
    (tmp_path / "mine.py").write_text(text)
    trust(tmp_path)
    theirs = scenario(
        tmp_path,
        "model=python:mine.py:build",
        "weights=equal",
        data='name = "python:mine.py:load"',
    )
    ours = scenario(tmp_path, "weights=equal", data='name = "heart"')
    metrics = [
        {**securefl.run(made, tmp_path / name), "seconds": 0}
        for name, made in (("theirs", theirs), ("ours", ours))
    ]
    assert json.dumps(metrics[0]) == json.dumps(metrics[1])
    weights = [
        RunFolder.open(tmp_path / name).cells()[0].cell.checkpoint.read_bytes()
        for name in ("theirs", "ours")
    ]
    assert len(weights[0]) == len(weights[1])
    assert torch.equal(load_data(theirs).test.labels, load_data(ours).test.labels)
