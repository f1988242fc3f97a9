"""Scenarios on sites with words of their own: coarse labels, labels that nobody looked for."""

from pathlib import Path

import pytest

import securefl
from securefl.audit.inquiry import Inquiry
from securefl.errors import DataError, NotReady, ScenarioError
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.site_data import check_site_data, read_site_data
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.shared import check_own_data, refuse_paths, schema_digest, shared_part
from securefl.scenario.summary import summary
from tests.data.own.unlike import DATA, DP, SGD, write_coarse, write_partial
from tests.values import present


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    write_coarse(tmp_path)
    return tmp_path


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    write_partial(tmp_path)
    return tmp_path


def made(folder: Path, *overrides: str, training: str = SGD) -> Scenario:
    return parse_scenario(DATA + training, overrides=overrides, folder=folder)


def test_a_site_with_coarse_labels_trains_and_fine_ones_judge(coarse: Path) -> None:
    scenario = made(coarse, "rounds=12")
    assert scenario.facts.task.groups == ((1, 2),)
    data = load_data(scenario)
    chur = data.sites[2].train.labels
    assert set(chur.tolist()) == {0, 3}
    assert set(data.sites[0].train.labels.tolist()) == {0, 1, 2}
    result = securefl.run(scenario, coarse / "r")
    is_coarse = data.test.labels == 3
    assert result["coarse"] == int(is_coarse.sum())
    assert is_coarse.any()
    assert result["records"] == int((~is_coarse).sum())
    # The finding follows from st but for nothing, so that a linear model finds it.
    assert present(result["accuracy"]) > 0.9


@pytest.mark.parametrize("training", [SGD, DP])
def test_files_with_a_claim_and_without_run_and_repeat(coarse: Path, training: str) -> None:
    first = securefl.run(made(coarse, training=training), coarse / "a")
    second = securefl.run(made(coarse, training=training), coarse / "b")
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


@pytest.mark.parametrize("training", [SGD, DP])
def test_labels_that_a_site_never_looked_for_are_masked(partial: Path, training: str) -> None:
    scenario = made(partial, training=training)
    task = scenario.facts.task
    assert task.multilabel
    assert task.partial
    data = load_data(scenario)
    assert set(data.sites[2].train.labels[:, 1].tolist()) == {-1}
    assert set(data.sites[0].train.labels[:, 1].tolist()) == {0, 1}
    result = securefl.run(scenario, partial / "r")
    assert present(result["balanced_accuracy"]) > 0.5
    # Of the last site, the mass is not measured, and nobody answers for it.
    assert result["sites"]["chur"]["auc"] is None
    assert result["sites"]["basel"]["auc"] is not None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("data.partition=dirichlet", "data.clients=3"), "a coarse label stands for several; use"),
        (("data.label_noise=0.1",), r"data\.label_noise: a coarse label"),
        (("rehearsal.client=0",), r"remove the table \[rehearsal\], or the hierarchy"),
        (("training.class_weights=[1.0, 1.0, 1.0]",), "training.class_weights has one weight"),
        (
            ("attack.name=label_flip", "attack.clients=[0]"),
            "label_flip goes by the label of every record, and some labels of table are coarse",
        ),
        (
            ("attack.name=backdoor", "attack.clients=[0]"),
            "backdoor goes by the label of every record",
        ),
    ],
)
def test_what_goes_by_the_class_of_every_record_is_refused_with_coarse_labels(
    coarse: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        made(coarse, *overrides)


def test_an_attack_on_updates_needs_no_label(coarse: Path) -> None:
    made(coarse, "attack.name=sign_flip", "attack.scale=5.0", "attack.clients=[0]")


def test_audits_refuse_coarse_labels(coarse: Path) -> None:
    with pytest.raises(ScenarioError, match="the records bear coarse labels, which no attack here"):
        Inquiry(made(coarse), "server")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("attack.name=label_flip", "attack.clients=[0]"),
            "some labels of table are not looked for",
        ),
        (("evaluate.leave=sums",), "some sites did not look for every label"),
    ],
)
def test_what_needs_every_label_is_refused_where_some_are_not_looked_for(
    partial: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        made(partial, *overrides)
    made(partial, "training.class_weights=[1.0, 2.0]")


def test_a_word_that_nothing_maps_refuses_the_run_unless_it_is_dropped(coarse: Path) -> None:
    path = coarse / "sites/bern.csv"
    path.write_text(path.read_text(encoding="utf-8") + "50,1.0,J45\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bern\.csv, line 62: column 'finding' has a word") as info:
        load_data(made(coarse))
    assert "J45" not in str(info.value)
    # Under a claim the record goes without a word, and changes no other.
    claimed = load_data(made(coarse, training=DP))
    table = coarse / "map.toml"
    table.write_text('unmapped = "drop"\n' + table.read_text(encoding="utf-8"), encoding="utf-8")
    dropped = load_data(made(coarse))
    for one, other in zip(claimed.sites, dropped.sites, strict=True):
        assert one.train.labels.equal(other.train.labels)
    assert sum(len(site.train) for site in dropped.sites) + len(dropped.test) == 180


def test_the_crosswalk_travels_in_the_shared_part_and_every_site_reads_by_it(coarse: Path) -> None:
    text, more = shared_part(DATA + SGD, (), coarse)
    refuse_paths(text, more)
    shared = parse_scenario(text, overrides=more)
    check_own_data(shared)
    assert shared.data.crosswalk is None
    simulated = made(coarse)
    assert schema_digest(shared) == schema_digest(simulated)
    assert shared.facts.task == simulated.facts.task
    for site, theirs in enumerate(load_data(simulated).sites):
        paths = [coarse / f"sites/{theirs.name}.csv"]
        check_site_data(shared, site, paths)
        own = read_site_data(shared, site, paths)
        assert own.train.features.equal(theirs.train.features)
        assert own.train.labels.equal(theirs.train.labels)
    with pytest.raises(NotReady, match=r"bern\.csv, line 2: column 'finding' has a word"):
        read_site_data(shared, 0, [coarse / "sites/bern.csv"])


def test_a_site_without_a_column_reads_its_own_file(partial: Path) -> None:
    text, more = shared_part(DATA + SGD, (), partial)
    shared = parse_scenario(text, overrides=more)
    theirs = load_data(made(partial)).sites[2]
    own = read_site_data(shared, 2, [partial / "sites/chur.csv"])
    assert own.train.labels.equal(theirs.train.labels)
    with pytest.raises(NotReady, match=r"chur\.csv has no column 'mass'"):
        read_site_data(shared, 1, [partial / "sites/chur.csv"])


def test_another_crosswalk_is_another_digest(coarse: Path) -> None:
    before = schema_digest(made(coarse))
    table = coarse / "map.toml"
    text = table.read_text(encoding="utf-8").replace("Herzinfarkt", "Infarkt")
    table.write_text(text, encoding="utf-8")
    assert schema_digest(made(coarse)) != before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("data.crosswalk=other.toml",), r"other\.toml"),
        (("data.crosswalk={ not_observed = { wil = ['x'] } }",), "none of the schema's"),
        (
            ("data.name=arrays", "data.path=x.npz"),
            r"data\.crosswalk has no effect with arrays; remove it",
        ),
    ],
)
def test_a_crosswalk_that_does_not_fit_is_refused(
    coarse: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        made(coarse, *overrides)


def test_what_sites_share_names_no_file_of_a_crosswalk() -> None:
    with pytest.raises(ScenarioError, match=r"data\.crosswalk names a file"):
        refuse_paths('data = { name = "table", crosswalk = "map.toml" }', ())


def test_arrays_between_sites_refuse_a_crosswalk(tmp_path: Path) -> None:
    text = (
        'data = { name = "arrays", schema = { features = 2, num_classes = 2 }, crosswalk = "m" }\n'
    )
    shared, more = shared_part(text, (), tmp_path)
    with pytest.raises(ScenarioError, match=r"data\.crosswalk has no effect with arrays"):
        parse_scenario(shared, overrides=more)


def test_a_claim_says_that_it_rests_on_the_crosswalk(coarse: Path) -> None:
    assert "data.schema, data.crosswalk" in summary(made(coarse, training=DP))
