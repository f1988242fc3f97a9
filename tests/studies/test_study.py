"""A study: what it says, what it expands to, and what it refuses with one sentence."""

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.errors import ScenarioError
from securefl.privacy.remember import fresh
from securefl.runs.cache import Cache
from securefl.scenario.scenario import parse_scenario
from securefl.studies.expand import Planned, expand, long_rows, rows
from securefl.studies.find import shipped_studies
from securefl.studies.levels import label_of
from securefl.studies.study import Study, load_study, parse_study
from tests.paths import ROOT

PLAIN = '[base]\nrounds = 2\ntraining = { kind = "sgd" }\n'


def study(text: str) -> Study:
    return parse_study(PLAIN + text, name="mine")


def cells(text: str) -> tuple[Planned, ...]:
    return expand(study(text), remember=fresh)


def labels(text: str) -> list[str]:
    return list(dict.fromkeys(planned.row for planned in cells(text)))


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        expand(parse_study(text, name="mine"), remember=fresh)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_combination_runs_with_every_seed() -> None:
    found = cells('[axes]\n"defense.rule" = ["mean", "median"]\n"training.lr" = [0.1, 0.5]\n')
    assert [(planned.row, planned.seed) for planned in found] == [
        (row, seed)
        for row in ("mean, lr 0.1", "mean, lr 0.5", "median, lr 0.1", "median, lr 0.5")
        for seed in range(5)
    ]
    last = found[-1].scenario
    assert (last["defense"]["rule"]["name"], last["training"]["lr"]) == ("median", 0.5)
    assert (last["seed"], last["data"]["split_seed"], last["rounds"]) == (4, 4, 2)
    assert found[-1].levels == {"defense.rule": "median", "training.lr": "0.5"}


def test_a_study_without_axes_is_its_base_over_the_seeds() -> None:
    assert [(planned.row, planned.seed) for planned in cells("")] == [
        ("mine", seed) for seed in range(5)
    ]


def test_seeds_are_a_count_or_a_list_and_set_the_seed_keys() -> None:
    found = expand(
        parse_study(f'seeds = [7, 3]\nseed_keys = ["data.split_seed"]\n{PLAIN}', name="x"),
        remember=fresh,
    )
    assert [
        (planned.scenario["seed"], planned.scenario["data"]["split_seed"]) for planned in found
    ] == [(0, 7), (0, 3)]
    assert study("").seeds == parse_study(f"seeds = 5\n{PLAIN}", name="x").seeds == (0, 1, 2, 3, 4)


def test_a_named_level_sets_several_keys() -> None:
    found = cells('[axes.data.small]\n"data.partition" = "pooled"\nrounds = 1\n[axes.data.usual]\n')
    assert [
        (planned.scenario["data"]["partition"], planned.scenario["rounds"])
        for planned in found[::5]
    ] == [
        ("pooled", 1),
        ("natural", 2),
    ]


def test_a_level_that_sets_a_whole_table_leaves_the_seed_in_it_to_the_study() -> None:
    found = cells('[axes.data.digits]\ndata = { name = "digits", clients = 5, split_seed = 77 }\n')
    assert [planned.scenario["data"]["split_seed"] for planned in found] == [0, 1, 2, 3, 4]
    assert found[0].scenario["data"]["clients"] == 5


def test_zipped_keys_move_together() -> None:
    found = cells('[[zip]]\n"training.lr" = [0.1, 0.2]\nrounds = [3, 4]\n')
    assert [
        (planned.scenario["training"]["lr"], planned.scenario["rounds"]) for planned in found[::5]
    ] == [
        (0.1, 3),
        (0.2, 4),
    ]
    assert found[0].levels == {"training.lr & rounds": "lr 0.1 & rounds 3"}


def test_exclusions_take_levels_one_or_several() -> None:
    axes = '[axes]\n"defense.rule" = ["mean", "median"]\n"training.lr" = [0.1, 0.5, 0.7]\n'
    assert labels(
        axes + '[[exclude]]\n"defense.rule" = "median"\n"training.lr" = [0.1, 0.7]\n'
    ) == [
        "mean, lr 0.1",
        "mean, lr 0.5",
        "mean, lr 0.7",
        "median, lr 0.5",
    ]


def test_overrides_come_after_the_levels_and_meet_baselines_on_them() -> None:
    found = cells(
        '[axes]\n"training.lr" = [0.1, 0.5]\n'
        '[[override]]\nwhen = { "training.lr" = 0.5 }\nset = { rounds = 9, "training.lr" = 0.6 }\n'
        '[[baseline]]\nlabel = "pooled"\ncross = ["training.lr"]\n'
        'set = { "data.partition" = "pooled", rounds = 4 }\n'
    )
    assert {
        planned.row: (planned.scenario["rounds"], planned.scenario["training"]["lr"])
        for planned in found
    } == {
        "lr 0.1": (2, 0.1),
        "lr 0.5": (9, 0.6),
        "pooled (lr 0.1)": (4, 0.1),
        "pooled (lr 0.5)": (9, 0.6),
    }


def test_an_override_may_set_a_key_for_each_seed() -> None:
    found = cells(
        "[axes]\nrounds = [2, 3]\n[[override]]\nwhen = { rounds = 3 }\n"
        'set = { "training.lr" = 9.0 }\nby_seed = { "training.lr" = [0.1, 0.2, 0.3, 0.4, 0.5] }\n'
    )
    rates = {(planned.row, planned.seed): planned.scenario["training"]["lr"] for planned in found}
    assert [rates["rounds 3", seed] for seed in range(5)] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [rates["rounds 2", seed] for seed in range(5)] == [0.5] * 5  # the default


def test_a_baseline_is_a_row_next_to_the_grid_and_may_have_parts() -> None:
    found = cells(
        '[axes]\n"training.lr" = [0.1, 0.5]\n'
        '[[baseline]]\nlabel = "local"\naverage = { "data.only" = [0, 3] }\n'
        '[[baseline]]\nlabel = "one"\ncross = { "training.lr" = 0.5 }\n'
    )
    local = [planned for planned in found if planned.row == "local"]
    assert [(planned.seed, planned.part) for planned in local] == [
        (seed, part) for part in ("data.only=0", "data.only=3") for seed in range(5)
    ]
    assert all(planned.levels == {} for planned in local)
    assert {planned.row for planned in found} == {"lr 0.1", "lr 0.5", "local", "one (lr 0.5)"}


def test_a_level_is_called_by_its_name_and_parameters() -> None:
    values = (
        "krum",
        0.5,
        8.0,
        1234567.0,
        1234567,
        True,
        [0, 1],
        {"name": "krum", "f": 2},
        {"a": 1},
    )
    assert [label_of(value) for value in values] == [
        "krum",
        "0.5",
        "8",
        "1234567",
        "1234567",
        "true",
        "[0,1]",
        "krum f=2",
        "a=1",
    ]


def test_a_base_may_be_a_scenario_file(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text('rounds = 7\ntraining = { kind = "sgd" }\n')
    (tmp_path / "mine.toml").write_text('base = "scenario.toml"\nseeds = 1\n')
    loaded, text = load_study(tmp_path / "mine.toml", overrides=("training.lr=0.25",))
    (planned,) = expand(loaded, remember=fresh)
    assert (planned.scenario["rounds"], planned.scenario["training"]["lr"]) == (7, 0.25)
    assert text.endswith("# --set training.lr=0.25")
    (tmp_path / "scenario.toml").unlink()
    with pytest.raises(ScenarioError, match=r"base: cannot read .*scenario.toml: No such file"):
        load_study(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = = 1", "the study is not valid TOML"),
        ("sedes = 3", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("seeds = 0", "seeds: takes a count from 1 to 1000, or a list of seeds"),
        ("seeds = 1000000000000", "seeds: takes a count from 1 to 1000, or a list of seeds"),
        ("seeds = [1, 1]", "seeds: 1 is there twice"),
        ('seeds = "many"', "seeds: input should be a list"),
        ('seed_keys = ["sed"]', "cell 'mine': unknown key 'sed'; did you mean 'seed'?"),
        ("axes = 3", "axes is a table"),
        ("[axes]\nrounds = []", "axes.rounds: the axis is empty"),
        ("[axes.data]", "axes.data: the axis is empty"),
        (
            "[axes]\nrounds = 3",
            "axes.rounds: takes a list of values or a table of named levels, got 3",
        ),
        ("[axes.data]\nheart = 3", "axes.data.heart: a level is a table of scenario keys, got 3"),
        ("[axes]\nrounds = [2, 2]", "axes.rounds: '2' is there twice"),
        (
            "[axes.start]\na = { seed = 3 }",
            "row 'a' sets 'seed', which the seeds set: change one, or seed_keys",
        ),
        (
            "[axes]\nseed = [2, 3]",
            "axes.seed: results.csv has a column of this name already; name the axis otherwise",
        ),
        ("[axes.Site]\na = {}", "axes.Site: results.csv has a column of this name"),
        ("[axes.x]\na = {}\n[axes.X]\na = {}", "axes.X: results.csv has a column of this name"),
        (
            '[axes]\n"training.lr" = [0.1]\n[axes.x]\na = { "training.lr" = 0.2 }',
            "axis 'x' sets 'training.lr', which axis 'training.lr' has set",
        ),
        (
            '[axes]\n"training.lr" = [0.1]\n[axes.x]\na = { training = { lr = 0.2 } }',
            "axis 'x' sets 'training', which axis 'training.lr' has set",
        ),
        (
            '[[baseline]]\nlabel = "x"\naverage = { "data.only" = [0, 0] }',
            "average: '0' is there twice",
        ),
        ("metrics = []", "metrics: list should have at least 1 item"),
        ('metrics = ["acuracy"]', "metrics.0: input should be 'accuracy', 'balanced_accuracy'"),
        ("base = 3", "base: takes a scenario's tables or the path of its file, got 3"),
        (
            "rounds = 3",
            "'rounds' belongs to a scenario: put it under [base], or give base = \"scenario.toml\"",
        ),
        (
            '[axes]\n"training.lr" = [1979-05-27]',
            "no scenario key takes datetime.date(1979, 5, 27)",
        ),
        (f'[axes]\n"training.lr" = [{"1" * 400}]', "cell 'lr 1111"),
        (
            f'[axes]\n"training.lr" = [{"1" * 5000}]',
            "the study is not valid TOML: Exceeds the limit",
        ),
        (f"x = {'[' * 3000}{']' * 3000}", "the study is not valid TOML"),
        (
            '[[baseline]]\nlabel = "x"\ncross = [{ a = 1 }]',
            "baseline.0.cross: input should be a table",
        ),
        (
            '[axes]\nrounds = [1]\n[table]\nsections = "rounds"\ncolumns = "rounds"',
            "cannot both be 'rounds'",
        ),
        (
            '[[baseline]]\nlabel = "x"\naverage = { "data.split_seed" = [1] }',
            "row 'x' sets 'data.split_seed', which",
        ),
        ("[axes]\nround = [2, 3]", "cell 'round 2': unknown key 'round'; did you mean 'rounds'?"),
        ('[axes]\nrounds = ["two"]', "cell 'two': rounds: input should be a valid integer"),
        ('[axes]\n"rounds." = [1]', "is not a key path such as training.lr"),
        ('[axes]\n"seed.x" = [1]\n[base]\nseed = 1', "seed.x: seed is not a table"),
        (
            "[[zip]]\nrounds = [1, 2]\nseed = [1]",
            "zip: the lists must be of one length; rounds has 2, seed has 1",
        ),
        ("[[zip]]\nrounds = 3", "zip: rounds takes a list of values, got 3"),
        ("[[zip]]\nrounds = []", "zip: rounds is empty"),
        ("[[zip]]\n", "zip.0: takes a table of keys"),
        ("[[exclude]]\nlr = 1", "exclude: there is no axis 'lr'; axes: none"),
        (
            "[axes]\nrounds = [1]\n[[exclude]]\nrounds = 2",
            "exclude: axis 'rounds' has no level '2'; levels: 1",
        ),
        ("[axes]\nrounds = [1]\n[[exclude]]\n", "exclude: an empty table would leave no cell"),
        (
            '[axes]\nrounds = [1, 2]\n"training.lr" = [1]\n'
            '[[exclude]]\nrounds = 1\n"training.lr" = []',
            "exclude: {'rounds': 1, 'training.lr': []} excludes no cell",
        ),
        ("[[override]]\nset = { rounds = 1 }", "when: field required"),
        ("[[override]]\nwhen = {}", "sets nothing: give set or by_seed"),
        (
            "[[override]]\nwhen = {}\nby_seed = { rounds = [1, 2] }",
            "override.by_seed: rounds has 2 values for 5 seeds",
        ),
        (
            "[axes]\nrounds = [1, 2]\n[[exclude]]\nrounds = 1\n"
            "[[override]]\nwhen = { rounds = 1 }\nset = { seed = 1 }",
            "override: when = {'rounds': 1} meets no cell",
        ),
        (
            '[[baseline]]\nlabel = "x"\ncross = ["lr"]',
            "baseline.cross: there is no axis 'lr'; axes: none",
        ),
        ('[[baseline]]\nlabel = "x"\n[[baseline]]\nlabel = "x"', "two rows would be called 'x'"),
        (
            '[[baseline]]\nlabel = "x"\naverage = { seed = [] }',
            "takes one key with at least one value",
        ),
        (
            '[[baseline]]\nlabel = "x"\naverage = { seed = [1], rounds = [1] }',
            "takes one key with at least one value",
        ),
        ("[compare]", "takes either reference (levels) or baseline (a label)"),
        ('[compare]\nbaseline = "x"', "compare.baseline: there is no baseline 'x'"),
        ('[compare]\nreference = { lr = "1" }', "compare.reference: there is no axis 'lr'"),
        (
            '[[baseline]]\nlabel = "x"\n[compare]\nbaseline = "x"\nquestion = ["lr"]',
            "compare.question: there is no axis 'lr'; axes: none",
        ),
        ('[table]\ncolumns = "lr"', "table: there is no axis 'lr'; axes: none"),
        ('name = "../up"', "name: takes up to 64 letters, digits"),
        ("cell_limit = 0", "cell_limit: input should be greater than 0"),
        (
            '[axes]\n"defense.rule" = [{ name = "krum", f = 1 }]',
            "krum with f=1 needs 5 rows, plain with 4 clients",
        ),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    numbers = ", ".join(map(str, range(1, 400)))
    text = f"seeds = 1000\n[axes]\nrounds = [{numbers}]\n"
    assert "has 399000 cells before exclusions, at most 100000" in refusal(text)


@st.composite
def grids(draw: st.DrawFn) -> tuple[dict[str, list[Any]], dict[str, list[Any]], int]:
    """Axes, an exclusion on some of them, and a number of seeds."""
    values: dict[str, st.SearchStrategy[Any]] = {
        "rounds": st.integers(1, 50),
        "training.lr": st.sampled_from([0.1, 0.2, 0.25, 0.5, 1.0]),
        "defense.rule": st.sampled_from(["mean", "median"]),
        "server.step": st.sampled_from(["fedavg", "fedadam"]),
    }
    names = draw(st.lists(st.sampled_from(list(values)), unique=True, min_size=1, max_size=3))
    axes = {
        name: draw(st.lists(values[name], unique=True, min_size=1, max_size=3)) for name in names
    }
    on = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)))
    exclude = {
        name: draw(st.lists(st.sampled_from(axes[name]), unique=True, min_size=1)) for name in on
    }
    return axes, exclude, draw(st.integers(1, 3))


@given(grids())
@settings(max_examples=60, deadline=None)
def test_the_cells_are_the_product_without_the_excluded_ones(
    grid: tuple[dict[str, list[Any]], dict[str, list[Any]], int],
) -> None:
    axes, exclude, seeds = grid
    text = f"seeds = {seeds}\n" + PLAIN + "[axes]\n"
    text += "".join(f"{name!r} = {values}\n" for name, values in axes.items())
    if exclude:
        text += "[[exclude]]\n" + "".join(
            f"{name!r} = {values}\n" for name, values in exclude.items()
        )
    expected = [
        point
        for point in (
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        )
        if not exclude or not all(point[name] in values for name, values in exclude.items())
    ]
    if not expected:
        assert refusal(text) == "the study has no cell: everything is excluded"
        return
    found = expand(parse_study(text, name="mine"), remember=fresh)
    assert len(found) == seeds * len(expected)
    base = tomllib.loads(PLAIN)["base"]
    for planned, (point, seed) in zip(
        found, itertools.product(expected, range(seeds)), strict=True
    ):
        overrides = [
            f"{key}={value}"
            for key, value in (point | {"seed": seed, "data.split_seed": seed}).items()
        ]
        alone = parse_scenario(
            'training = { kind = "sgd" }\nrounds = 2', overrides=tuple(overrides)
        )
        assert planned.scenario == alone.resolved()
    assert base == {"rounds": 2, "training": {"kind": "sgd"}}
    assert len({(planned.row, planned.seed) for planned in found}) == len(found)


def test_a_study_that_was_checked_before_is_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, cache = study("[axes]\nrounds = [1, 2]\n"), Cache(tmp_path)
    first = expand(known, remember=cache.remember)
    monkeypatch.setattr("securefl.scenario.scenario.make_scenario", None)
    assert expand(known, remember=cache.remember) == first
    with pytest.raises(TypeError, match="not callable"):
        expand(study("[axes]\nrounds = [1, 3]\n"), remember=cache.remember)
    monkeypatch.setattr("securefl.runs.cache.code_hash", lambda: "other code")
    with pytest.raises(TypeError, match="not callable"):
        expand(known, remember=cache.remember)


def test_a_study_with_its_axes_or_keys_in_another_order_is_another_one(tmp_path: Path) -> None:
    remember = Cache(tmp_path).remember
    axes = ['"training.lr" = [0.1, 0.5]', '"defense.rule" = ["mean", "median"]']
    for order in (axes, axes[::-1]):
        one = study("[axes]\n" + "\n".join(order))
        assert [planned.row for planned in expand(one, remember=remember)][::5] == [
            row.label for row in rows(one)
        ]
    rule = ['"defense.rule" = { name = "trimmed_mean", f = 1 }', '"defense.rule.f" = 0']
    for order, f in ((rule, 0), (rule[::-1], 1)):
        found = expand(study("[axes.x.level]\n" + "\n".join(order)), remember=remember)
        assert found[0].scenario["defense"]["rule"]["f"] == f


def test_an_override_without_effect_is_refused() -> None:
    text = PLAIN + '[axes]\nrounds = [1, 2]\n[axes.x]\na = { "training.lr" = 0.1 }\nb = {}\n'
    for override, sentence in (
        ("rounds=3", "axis 'rounds' sets it in every cell"),
        ("seed=3", "the seeds set it"),
    ):
        with pytest.raises(ScenarioError, match=f"has no effect: {sentence}"):
            parse_study(text, name="x", overrides=(override,))
    assert parse_study(text, name="x", overrides=("training.lr=0.3",)).base["training"]["lr"] == 0.3


@pytest.mark.parametrize("name", shipped_studies())
def test_the_shipped_studies_are_whole(name: str) -> None:
    loaded, _ = load_study(shipped_studies()[name])
    known = list(rows(loaded))
    baselines = {row.baseline.label for row in known if row.baseline is not None}
    # Rows that take hours have three: enough for a mean, and too few to rank.
    assert len(loaded.seeds) >= (3 if long_rows(loaded) else 5)
    needed = {
        "poisoning": {"no attack", "pooled"},
        "backdoor": set(),
        "published": set(),
        "medical-privacy": {"no privacy"},
        "number-of-hospitals": {"one hospital"},
    }
    assert needed.get(name, {"pooled", "local only"}) <= baselines
    assert expand(loaded, remember=fresh)


def test_the_large_grid_of_attacks_is_whole() -> None:
    large, _ = load_study(ROOT / "benchmarks/studies/large/poisoning-large.toml")
    cells = expand(large.model_copy(update={"seeds": (0,)}), remember=fresh)
    assert len(cells) == 3 * 13 * (14 * 3 + 1)
    for planned in cells:
        corrupt = (
            planned.scenario["attack"]["clients"]
            if planned.scenario["attack"]
            else [0, 1, 2, 3, 4, 5]
        )
        chain = (planned.scenario["defense"]["rule"], *planned.scenario["defense"]["prefilters"])
        assert {one["f"] for one in chain if "f" in one} <= {len(corrupt)}


def test_the_first_studies_vary_what_they_should() -> None:
    assert {"privacy-utility", "robustness"} <= set(shipped_studies())
    privacy, _ = load_study(shipped_studies()["privacy-utility"])
    assert privacy.labels("privacy.epsilon", "") == ["1", "3", "8", "inf"]
    assert privacy.labels("channel.kind", "") == ["plain", "masked"]
    assert privacy.labels("data", "") == ["Heart", "digits"]
    robust, _ = load_study(shipped_studies()["robustness"])
    assert [len(robust.axes[axis]) for axis in ("split", "rule", "attack", "liars")] == [2, 4, 2, 3]
    for planned in expand(robust, remember=fresh):
        if planned.levels.get("rule") in ("trimmed mean", "Krum") and "liars" in planned.levels:
            assert planned.scenario["defense"]["rule"]["f"] == len(
                planned.scenario["attack"]["clients"]
            )
