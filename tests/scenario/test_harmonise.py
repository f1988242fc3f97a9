"""data.harmonise and simulate.scanners: what is refused, and which records they map."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import securefl
from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.data.harmonise.images import nyul, window, zscore
from securefl.data.scanners import Scanner, scanned
from securefl.data.task import Examples
from securefl.errors import DataError, ScenarioError
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.names import cell_hash
from securefl.scenario.assemble.data import dealt_data, load_data, pool_of
from securefl.scenario.assemble.site_data import read_site_data
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.shared import shared_part
from securefl.scenario.summary import summary
from tests.data.own.files import saved
from tests.scenario.texts import SGD, refusal
from tests.values import present

SITES = ("bern", "chur", "sion")
ZSCORE = '{ name = "zscore" }'
WINDOW = '{ name = "window", low = 20.0, high = 220.0 }'
NYUL = '{ name = "nyul", landmarks = [10.0, 90.0, 200.0], percentiles = [0, 50, 100] }'
STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    ZSCORE: zscore,
    WINDOW: partial(window, low=20.0, high=220.0),
    NYUL: partial(nyul, landmarks=(10.0, 90.0, 200.0), percentiles=(0.0, 50.0, 100.0)),
}
SCANNERS = "[simulate]\nscanners = [{ client = 1, gain = 0.5, gamma = 2.0 }]\n"
SCHEMA = (
    '{ images = [6, 6], values = "bytes", num_classes = 2, sites = ["bern", "chur", "sion"], '
    'splits = ["train", "validation", "test"] }'
)


def published(*keys: str) -> str:
    """Returns a scenario on published images, of which nothing is read."""
    table = ", ".join(('name = "medmnist:pneumoniamnist"', "clients = 3", *keys))
    return f"{SGD}data = {{ {table} }}\n"


def steps(*tables: str) -> str:
    return f"harmonise = [{', '.join(tables)}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images of three sites, one file each."""
    (tmp_path / "sites").mkdir()
    for index, site in enumerate(SITES):
        random = np.random.default_rng(index)
        values: dict[str, Any] = {}
        for split, records in (("train", 12), ("val", 6), ("test", 8)):
            pixels = random.integers(0, 256, size=(records, 6, 6)) // (index + 1)
            values[f"{split}_images"] = pixels.astype(np.uint8)
            values[f"{split}_labels"] = np.arange(records) % 2
        saved(tmp_path / "sites", values, f"{site}.npz")
    return tmp_path


def own_text(*keys: str, more: str = "") -> str:
    table = ", ".join(('name = "arrays"', 'path = "sites/*.npz"', f"schema = {SCHEMA}", *keys))
    return f'rounds = 1\nweights = "equal"\n{SGD}data = {{ {table} }}\n{more}'


def own(folder: Path, *keys: str, more: str = "") -> Scenario:
    return parse_scenario(own_text(*keys, more=more), folder=folder)


REFUSED = [
    (steps(WINDOW.replace("220.0", "20.0")), "window: low must be below high, got 20 and 20"),
    (steps(WINDOW.replace("220.0", "10.0")), "window: low must be below high, got 20 and 10"),
    (steps(WINDOW.replace(", high = 220.0", "")), "window.high: field required"),
    (steps('{ name = "zscore", clip = 0.0 }'), "zscore.clip: input should be greater than 0"),
    (steps(NYUL.replace("90.0", "10.0")), "nyul: landmarks must rise"),
    (steps(NYUL.replace("90.0", "200.0")), "nyul: landmarks must rise"),
    (steps(NYUL.replace("50,", "0,")), "nyul: percentiles must rise"),
    (steps(NYUL.replace("100]", "101]")), "percentiles.2: input should be less than or equal to"),
    (steps(NYUL.replace("[0,", "[-1,")), "percentiles.0: input should be greater than or equal"),
    (steps(NYUL.replace("[10.0, ", "[")), "landmarks and percentiles go together, got 2 and 3"),
    (
        steps(NYUL.replace("[10.0, 90.0, 200.0]", '"learned"')),
        "landmarks that are learned from the records are a release about them",
    ),
    (steps(ZSCORE, ZSCORE), "data.harmonise: zscore stands twice; leave one"),
    (steps(WINDOW, NYUL, WINDOW), "data.harmonise: window stands twice"),
    (steps(ZSCORE, WINDOW), "data.harmonise: window cannot follow zscore: put window before it"),
    (steps(ZSCORE, NYUL), "data.harmonise: nyul maps percentiles, which zscore before it does not"),
    (steps('{ name = "windw" }'), "harmonise.0: there is no 'windw'; use 'window', 'zscore'"),
    (steps("{ low = 1.0 }"), "data.harmonise.0: a table with a name is needed"),
    (steps(WINDOW.replace("low", "lo")), "harmonise.0.window.lo'; did you mean 'low'?"),
    (steps("3"), "data.harmonise.0: input should be a table, got 3"),
    (steps(), "data.harmonise: list should have at least 1 item"),
    ('harmonise = "zscore"', "data.harmonise: input should be a list"),
]


@pytest.mark.parametrize(("key", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_steps_without_a_meaning_are_refused(key: str, sentence: str) -> None:
    assert sentence in refusal(published(key))


@pytest.mark.parametrize("name", ["heart", "digits"])
@pytest.mark.parametrize("step", STEPS, ids=["zscore", "window", "nyul"])
def test_rows_of_numbers_take_no_step_of_images(name: str, step: str) -> None:
    text = f'{SGD}data = {{ name = "{name}", {steps(step)} }}'
    assert f"is for images, and {name} has rows of numbers; remove it" in refusal(text)


SCANNERS_REFUSED = [
    ("clients = 3", "{ client = 3, gain = 0.5 }", "there is no client 3 among 3"),
    ("clients = 3", "{ client = 0 }", "scanners.0: a scanner needs gain, gamma or blur"),
    ("clients = 3", "{ client = 0, gain = 0.0 }", "gain: input should be greater than or equal to"),
    ("clients = 3", "{ client = 0, gian = 0.5 }", "scanners.0.gian'; did you mean 'gain'?"),
    (
        "clients = 3",
        "{ client = 0, gain = 0.5 }, { client = 0, blur = 1.0 }",
        "client 0 has more than one scanner",
    ),
    ("clients = 3", "", "simulate.scanners: list should have at least 1 item"),
    (
        'partition = "pooled"',
        "{ client = 0, gain = 0.5 }",
        "needs sites that all take part, which data.partition = 'pooled' does not leave",
    ),
]


@pytest.mark.parametrize(
    ("key", "scanners", "sentence"), SCANNERS_REFUSED, ids=range(len(SCANNERS_REFUSED))
)
def test_scanners_of_nobody_and_without_effect_are_refused(
    key: str, scanners: str, sentence: str
) -> None:
    text = published().replace("clients = 3", key) + f"[simulate]\nscanners = [{scanners}]"
    assert sentence in refusal(text)


def test_rows_of_numbers_have_no_scanner() -> None:
    assert "simulate.scanners needs images, and heart has rows of numbers" in refusal(
        SGD + SCANNERS
    )


def test_a_site_that_is_held_out_has_no_scanner(folder: Path) -> None:
    with pytest.raises(ScenarioError, match=r"which data\.held_out does not leave"):
        own(folder, "held_out = 0", more=SCANNERS)


def test_a_bare_name_is_short_for_a_table() -> None:
    short, long = (parse_scenario(published(steps(step))) for step in ('"zscore"', ZSCORE))
    assert short.resolved() == long.resolved()


def test_steps_and_scanners_are_resolved_and_name_a_cell() -> None:
    texts = [
        published(),
        published(steps(ZSCORE)),
        published(steps(WINDOW, ZSCORE)),
        published(steps(WINDOW)) + SCANNERS,
        published() + SCANNERS,
    ]
    resolved = [parse_scenario(text).resolved() for text in texts]
    assert resolved[2]["data"]["harmonise"] == [
        {"name": "window", "low": 20.0, "high": 220.0},
        {"name": "zscore", "clip": None},
    ]
    assert resolved[4]["simulate"]["scanners"] == [
        {"client": 1, "gain": 0.5, "gamma": 2.0, "blur": 0.0}
    ]
    assert len({cell_hash(values) for values in resolved}) == len(texts)
    for values in resolved:
        assert make_scenario(json.loads(json.dumps(values))).resolved() == values
    words = summary(parse_scenario(texts[3]))
    assert "simulated scanners at 1" in words
    assert "harmonised by window" in words


@pytest.mark.parametrize("keys", [(), ('test_on = "validation"',)])
@pytest.mark.parametrize("step", STEPS, ids=["zscore", "window", "nyul"])
def test_records_that_train_and_judge_are_mapped(
    step: str, keys: tuple[str, ...], folder: Path
) -> None:
    plain, made = load_data(own(folder, *keys)), load_data(own(folder, *keys, steps(step)))
    mapped = STEPS[step]
    for before, after in zip(plain.sites, made.sites, strict=True):
        for one, other in ((before.train, after.train), (before.test, after.test)):
            assert torch.equal(mapped(present(one).features), present(other).features)
            assert torch.equal(present(one).labels, present(other).labels)
    assert torch.equal(mapped(plain.test.features), made.test.features)


def test_no_step_gets_a_value_that_is_not_finite(folder: Path) -> None:
    decimals = SCHEMA.replace('"bytes"', '"decimals"')
    records = "privacy = { epsilon = 4.0, records = [12, 12, 12] }\n"
    for name in SITES:
        values = {**np.load(folder / f"sites/{name}.npz")}
        for split in ("train", "val", "test"):
            values[f"{split}_images"] = values[f"{split}_images"].astype(np.float32)
        values["train_images"][3, 2, 2] = np.inf
        values["test_images"][5, 1, 1] = np.nan
        saved(folder / "sites", values, f"{name}.npz")
    for step in STEPS:
        text = own_text(steps(step)).replace(SCHEMA, decimals)
        with pytest.raises(DataError, match=r"images\[\d\] holds a value that is not a finite"):
            load_data(parse_scenario(text, folder=folder))
        claim = text.replace(SGD, 'training = { kind = "dp_sgd" }\n' + records)
        data = load_data(parse_scenario(claim, folder=folder))
        for site in data.sites:
            assert len(site.train) == 12
            assert site.train.features.isfinite().all()
            assert present(site.test).features.isfinite().all()


def test_steps_are_applied_in_their_order(folder: Path) -> None:
    plain, made = load_data(own(folder)), load_data(own(folder, steps(WINDOW, ZSCORE)))
    expected = zscore(STEPS[WINDOW](plain.test.features))
    assert torch.equal(made.test.features, expected)


@pytest.mark.parametrize("keys", [(), ('test_on = "validation"',), ("share = 0.7",)])
def test_a_deployed_site_has_the_bits_that_it_has_in_a_simulation(
    keys: tuple[str, ...], folder: Path
) -> None:
    for step in (ZSCORE, NYUL):
        simulated = load_data(own(folder, *keys, steps(step)))
        text, _ = shared_part(own_text(*keys, steps(step)), (), folder)
        shared = parse_scenario(text, folder=folder)
        for site, name in enumerate(SITES):
            ours = read_site_data(shared, site, [folder / f"sites/{name}.npz"])
            judging = ours.test if ours.test is not None else ours.validation
            theirs = simulated.sites[site]
            for one, other in ((ours.train, theirs.train), (judging, theirs.test)):
                assert present(one).features.equal(present(other).features)
                assert present(one).labels.equal(present(other).labels)
            if ours.test is not None:
                raw = read_site_data(own(folder, *keys), site, [folder / f"sites/{name}.npz"])
                mapped = STEPS[step](present(raw.validation).features)
                assert torch.equal(present(ours.validation).features, mapped)


def test_which_labels_are_wrong_does_not_depend_on_the_steps(folder: Path) -> None:
    noisy = ("label_noise = 0.4",)
    plain, made = load_data(own(folder, *noisy)), load_data(own(folder, *noisy, steps(NYUL)))
    clean = load_data(own(folder))
    for site, other, right in zip(plain.sites, made.sites, clean.sites, strict=True):
        assert torch.equal(site.train.labels, other.train.labels)
        assert not torch.equal(site.train.labels, right.train.labels)


def test_a_rehearsal_draws_from_mapped_records_once(folder: Path) -> None:
    scenario = own(folder, steps(WINDOW))
    data = load_data(scenario)
    pool = pool_of(scenario, data, 1).examples
    drawn = [
        load_data(make_scenario({**scenario.resolved(), "rehearsal": {"client": 1, "seed": seed}}))
        for seed in (4, 5)
    ]
    both = torch.cat([each.sites[1].train.features for each in drawn])
    assert sorted(both.flatten(1).tolist()) == sorted(pool.features.flatten(1).tolist())


def test_scanners_come_before_the_steps_and_reach_no_other_client(folder: Path) -> None:
    plain, made = load_data(own(folder)), load_data(own(folder, steps(NYUL), more=SCANNERS))
    scanner = Scanner(gain=0.5, gamma=2.0)
    for index, (before, after) in enumerate(zip(plain.sites, made.sites, strict=True)):
        for one, other in ((before.train, after.train), (before.test, after.test)):
            examples = scanned(present(one), scanner) if index == 1 else present(one)
            expected = STEPS[NYUL](examples.features)
            assert torch.equal(expected, present(other).features)
    own_tests = torch.cat([present(site.test).features for site in made.sites])
    assert torch.equal(made.test.features, own_tests)


def test_the_only_client_keeps_its_scanner_and_its_share_of_test_records(folder: Path) -> None:
    dealt = ('partition = "iid"', "clients = 3")
    made = load_data(own(folder, *dealt, more=SCANNERS))
    alone = load_data(own(folder, *dealt, "only = 1", more=SCANNERS))
    for ours, theirs in (
        (alone.sites[0].train, made.sites[1].train),
        (alone.test, made.sites[1].test),
    ):
        assert torch.equal(ours.features, present(theirs).features)
    assert len(alone.test) < len(made.test) == 24


def test_shadows_of_an_audit_have_the_scanners_and_no_failures() -> None:
    text = published(steps(ZSCORE)) + SCANNERS.replace(
        "[simulate]", "[simulate]\nlate = [{ client = 0, round = 0 }]"
    )
    scenario = parse_scenario(text)
    for shadow in shadow_scenarios(Inquiry(scenario, "server"), 2).values():
        assert shadow.simulate.scanners == scenario.simulate.scanners
        assert shadow.simulate.late == ()
        assert shadow.data.harmonise == scenario.data.harmonise


@pytest.mark.parametrize(
    ("step", "bounds"),
    [
        (WINDOW, (-1.0, 1.0)),
        (ZSCORE, (-6.0, 6.0)),
        ('{ name = "zscore", clip = 2.5 }', (-2.5, 2.5)),
    ],
)
def test_an_attacker_on_images_knows_their_range(step: str, bounds: tuple[float, float]) -> None:
    assert parse_scenario(published(steps(step))).data.image_bounds == bounds
    assert parse_scenario(published()).data.image_bounds == (-1.0, 1.0)


def test_the_records_that_are_counted_are_those_before_the_steps(folder: Path) -> None:
    made = dealt_data(own(folder, steps(ZSCORE)))
    assert made.test.features.dtype == torch.uint8
    assert isinstance(made.sites[0].train, Examples)


def test_a_run_trains_on_harmonised_images_under_a_claim(folder: Path, tmp_path: Path) -> None:
    claim = (
        'rounds = 1\ntraining = { kind = "dp_sgd", batch = 6, lr = 0.1 }\n'
        'privacy = { epsilon = 8.0, records = [12, 12, 12], noise = "seeded" }\n'
    )
    keys = f'name = "arrays", path = "sites/*.npz", schema = {SCHEMA}, {steps(NYUL, ZSCORE)}'
    result = securefl.run(
        parse_scenario(f"{claim}data = {{ {keys} }}\n{SCANNERS}", folder=folder), tmp_path / "run"
    )
    assert set(result["sites"]) == set(SITES)
    assert result["epsilon"] <= 8.0


def test_scanners_are_refused_between_sites(folder: Path) -> None:
    with pytest.raises(ScenarioError, match="simulate plays faults and scanners, which between"):
        check_deployable(own(folder, more=SCANNERS))
    check_deployable(own(folder, steps(ZSCORE)))
