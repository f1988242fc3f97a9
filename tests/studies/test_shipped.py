"""The shipped studies: run again in part, and their committed numbers.

The numbers of the README are those of docs/results.
"""

import csv
import re
from functools import cache
from pathlib import Path
from statistics import mean

import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks.publish import condensed, document, figure_of, main, study_file, tables_of
from securefl.data.task import concatenate
from securefl.errors import RunFolderError
from securefl.privacy.remember import fresh
from securefl.runs.cell import Cell
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.names import cell_hash
from securefl.runs.play import run_cell
from securefl.runs.table import mean_and_error
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import make_scenario, parse_scenario
from securefl.studies.expand import Planned, expand, long_rows, rows
from securefl.studies.find import find_study, shipped_studies
from securefl.studies.questions import differences
from securefl.studies.scores import Scores, read_scores
from securefl.studies.study import load_study, parse_study
from securefl.studies.tuning import chosen
from tests.commands import call
from tests.medmnist_files import official
from tests.paths import ROOT
from tests.values import present
from tests.workers import forked_workers

RESULTS = ROOT / "docs/results"
TUNING = (
    "heart-learning-rates",
    "digits-learning-rates",
)  # image-learning-rates has a page without numbers


# Studies that measure a goal, and have a page.
GOALS = ("heart-noise", "noise-shares")


@cache
def planned(study: str) -> tuple[Planned, ...]:
    return expand(load_study(study_file(study))[0], remember=fresh)


def again(study: str, row: str, folder: Path, *, rate: float | None = None) -> list[RunMetrics]:
    """The metrics of a row, run anew over its seeds, on request with one learning rate for all."""
    cells = [one for one in planned(study) if one.row == row]
    assert len(cells) == 5
    found = []
    for one in cells:
        scenario = dict(one.scenario)
        if rate is not None:
            scenario["training"] = {**scenario["training"], "lr": rate}
        found.append(
            run_cell(
                Cell(folder / row / str(one.seed)),
                make_scenario(scenario),
                on_round=lambda record: None,
            )
        )
    return found


def committed(study: str) -> Scores:
    return read_scores(RESULTS / f"{study}.csv")


def accuracy(study: str, row: str) -> float:
    values = [value for value in committed(study).of(row, "accuracy").values() if value is not None]
    assert len(values) == 5
    return mean(values)


def test_federated_is_within_a_point_of_pooled_over_five_seeds_at_one_learning_rate(
    tmp_path: Path,
) -> None:
    pooled, federated = (
        again("privacy-utility", f"{row} (Heart)", tmp_path, rate=1.0)
        for row in ("pooled", "federated")
    )
    pairs = list(zip(federated, pooled, strict=True))
    accuracy_gains = [present(one["accuracy"]) - present(two["accuracy"]) for one, two in pairs]
    auc_gains = [present(one["auc"]) - present(two["auc"]) for one, two in pairs]
    assert abs(mean(accuracy_gains)) <= 0.01
    assert abs(mean(auc_gains)) <= 0.01
    assert pooled[0]["majority"] == pytest.approx(0.52, abs=0.005)


def test_federated_and_pooled_do_not_differ_at_their_chosen_rates(tmp_path: Path) -> None:
    found = committed("privacy-utility")
    federated = again("privacy-utility", "federated (Heart)", tmp_path)
    assert [found.of("federated (Heart)", "accuracy")[seed] for seed in range(5)] == [
        pytest.approx(one["accuracy"], abs=1e-6) for one in federated
    ]
    assert (
        abs(
            accuracy("privacy-utility", "federated (Heart)")
            - accuracy("privacy-utility", "pooled (Heart)")
        )
        <= 0.015
    )
    assert not marked("privacy-utility")["pooled (Heart)"]


def test_pooled_heart_is_what_scikit_learn_finds() -> None:
    reached = []
    for seed in range(5):
        data = load_data(
            parse_scenario('training = { kind = "sgd" }', overrides=(f"data.split_seed={seed}",))
        )
        train = concatenate([site.train for site in data.sites])
        model = LogisticRegression(C=100.0, max_iter=10_000).fit(
            train.features.numpy(), train.labels.numpy()
        )
        reached.append(float(model.score(data.test.features.numpy(), data.test.labels.numpy())))
    assert mean(reached) == pytest.approx(accuracy("privacy-utility", "pooled (Heart)"), abs=0.01)


@pytest.mark.parametrize(
    ("row", "files"),
    [
        ("BreastMNIST, IID, no DP, masked", "breastmnist"),
        ("BreastMNIST, Dirichlet .5, epsilon 8, plain", "breastmnist"),
        pytest.param("RetinaMNIST, IID, no DP, plain", "retinamnist", marks=pytest.mark.slow),
        # Without AdrenalMNIST3D: it diverges at this rate, so that its AUC is rounding.
    ],
)
def test_images_give_the_committed_numbers_again(
    row: str, files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official(files, monkeypatch)
    chosen = next(one for one in planned("images") if (one.row, one.seed) == (row, 0))
    found = run_cell(
        Cell(tmp_path / "cell"), make_scenario(dict(chosen.scenario)), on_round=lambda record: None
    )
    # Convolutions round differently on other processors: a pair or two of 42 x 114 images may swap,
    # and one image may change its class.
    one_image = 1.5 / found["records"]
    scores = committed("images")
    assert found["accuracy"] == pytest.approx(scores.of(row, "accuracy")[0], abs=one_image)
    assert found["auc"] == pytest.approx(scores.of(row, "auc")[0], abs=1e-3)
    assert found["majority"] == pytest.approx(scores.of(row, "majority")[0], abs=1e-4)


@pytest.mark.slow  # 100 epochs: three minutes of CPU
def test_the_narrow_net_of_the_published_training_gives_the_committed_auc_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official("breastmnist", monkeypatch)
    row = "BreastMNIST, width 16, GroupNorm"
    chosen = next(one for one in planned("published") if (one.row, one.seed) == (row, 0))
    found = run_cell(
        Cell(tmp_path / "cell"), make_scenario(dict(chosen.scenario)), on_round=lambda record: None
    )
    # So many steps enlarge the rounding of another processor: two standard errors of 156 images.
    assert found["auc"] == pytest.approx(committed("published").of(row, "auc")[0], abs=0.06)


def test_the_text_on_the_published_training_agrees_with_the_numbers() -> None:
    text = " ".join((ROOT / "docs/data.md").read_text(encoding="utf-8").split())
    shown = []
    for norm in ("BatchNorm", "GroupNorm"):
        values = committed("published").of(f"BreastMNIST, width 16, {norm}", "auc").values()
        middle, error = mean_and_error([present(value) for value in values])
        assert len(values) == 3
        shown.append(f"{middle:.3f} ± {present(error):.3f}".replace("0.", "."))
    assert f"{shown[0]} on BreastMNIST with batch norm and {shown[1]} with group norm" in text


def test_two_sign_flippers_break_fedavg_and_no_robust_rule_on_digits(tmp_path: Path) -> None:
    broken = again("robustness", "IID, mean, sign flip, 20 %", tmp_path)
    reached = mean(present(run["accuracy"]) for run in broken)
    assert reached < 0.2
    assert reached == pytest.approx(accuracy("robustness", "IID, mean, sign flip, 20 %"), abs=1e-6)
    for rule in ("median", "trimmed mean", "Krum"):
        clean = accuracy("robustness", f"no attack (IID, {rule})")
        assert clean - accuracy("robustness", f"IID, {rule}, sign flip, 20 %") <= 0.05


def test_every_page_of_results_is_listed() -> None:
    index = (RESULTS / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\S+\.md)\)", index)) - {"../studies.md"} == {
        path.name for path in RESULTS.glob("*.md") if path.name != "index.md"
    }


def test_masks_cost_no_accuracy() -> None:
    for data in ("Heart", "digits"):
        for epsilon in ("1", "3", "8", "inf"):
            plain, masked = (
                accuracy("privacy-utility", f"{kind}, epsilon {epsilon}, {data}")
                for kind in ("plain", "masked")
            )
            assert masked == pytest.approx(plain, abs=0.005)


def test_the_text_on_published_shapes_agrees_with_the_numbers() -> None:
    rules = (
        "mean",
        "median",
        "trimmed mean",
        "Krum",
        "geometric median",
        "centred clipping",
        "DnC",
        "NNM + trimmed mean",
    )
    attacks = ("sign flip", "label flip", "ALIE", "IPM", "min-max", "mimic", "adaptive")

    def found(data: str, rule: str, attack: str | None) -> float:
        row = f"no attack ({data}, {rule})" if attack is None else f"{data}, {rule}, {attack}"
        return accuracy("poisoning", row)

    even, skewed, pneumonia = "digits, IID", "digits, Dirichlet .1", "PneumoniaMNIST, Dirichlet .1"
    for rule in ("median", "geometric median"):
        assert found(even, rule, "ALIE") > found(even, rule, "sign flip")
        assert found(skewed, rule, "ALIE") > found(skewed, rule, "sign flip")
    for rule in ("median", "Krum"):
        assert found(skewed, rule, "ALIE") > found(skewed, rule, None)
        for data in (skewed, pneumonia):
            assert found(data, "mean", "label flip") > found(data, rule, "label flip")
    assert found(even, "mean", None) - found(even, "mean", "label flip") < 0.03
    assert found(skewed, "mean", None) - found(skewed, "mean", "label flip") == pytest.approx(
        0.11, abs=0.005
    )
    chain = "NNM + trimmed mean"
    assert all(found(even, chain, None) - found(even, chain, attack) < 0.02 for attack in attacks)
    assert found(pneumonia, "mean", None) - found(pneumonia, "Krum", None) == pytest.approx(
        0.11, abs=0.005
    )
    assert found(skewed, "mean", None) - found(skewed, "Krum", None) > 0.5
    assert found(skewed, "DnC", "min-max") - found(skewed, "DnC", "ALIE") == pytest.approx(
        0.05, abs=0.005
    )
    assert all(found(skewed, rule, "IPM") < 0.26 for rule in ("Krum", "geometric median"))
    assert found(skewed, "mean", "IPM") > 0.85
    for rule in rules:
        others = [found(skewed, rule, attack) for attack in attacks if attack != "adaptive"]
        assert (found(skewed, rule, "adaptive") <= min(others)) is (rule != "geometric median")
        assert found(skewed, rule, "adaptive") < 0.35
    for rule in set(rules) - {"mean", "Krum"}:
        assert found(even, rule, None) - found(even, rule, "adaptive") < 0.04


def test_the_text_on_backdoors_agrees_with_the_numbers() -> None:
    study, _ = load_study(find_study("backdoor"))
    scores = committed("backdoor")

    def found(split: str, rule: str, attack: str, metric: str = "attack_success") -> float:
        return mean(
            value
            for value in scores.of(f"{split}, {rule}, {attack}", metric).values()
            if value is not None
        )

    def cost(split: str, rule: str) -> float:
        return found(split, "mean", "no attack", "accuracy") - found(
            split, rule, "no attack", "accuracy"
        )

    replaced, skewed = "model replacement", "Dirichlet .1"
    for split in ("IID", skewed):
        assert found(split, "mean", replaced) > 0.9
        assert (
            found(split, "mean", "no attack", "accuracy")
            - found(split, "mean", replaced, "accuracy")
            < 0.015
        )
    kept = {rule for rule in study.labels("rule", "") if found("IID", rule, replaced) < 0.2}
    assert kept == set(study.labels("rule", "")) - {"mean", "centred clipping"}
    assert all(cost("IID", rule) < 0.01 for rule in kept - {"Krum"})
    assert cost("IID", "Krum") == pytest.approx(0.06, abs=0.005)
    for rule in ("DnC", "NNM + trimmed mean"):
        assert found(skewed, rule, replaced) < 0.001
        assert found(skewed, rule, "BadNets") > 0.5
    both = {
        rule
        for rule in study.labels("rule", "")
        if max(found(skewed, rule, attack) for attack in ("BadNets", replaced)) < 0.2
    }
    assert both == {"median", "trimmed mean"}
    assert all(0.155 < cost(skewed, rule) < 0.205 for rule in both)


@pytest.mark.parametrize("study", [*shipped_studies(), *TUNING, *GOALS])
def test_every_page_is_made_from_the_committed_numbers(study: str) -> None:
    tables = tables_of(study, RESULTS)
    assert (RESULTS / f"{study}.md").read_text(encoding="utf-8") == document(study, tables)


@pytest.mark.parametrize("study", shipped_studies())
def test_a_figure_is_drawn_from_the_committed_numbers(study: str) -> None:
    held = ROOT / "docs/figures" / f"{study}.svg"
    assert held.exists() is load_study(find_study(study))[0].table.heat_map
    if held.exists():
        assert held.read_text(encoding="utf-8") == figure_of(study, RESULTS)


@pytest.mark.parametrize("study", [*shipped_studies(), *TUNING, *GOALS])
def test_the_committed_numbers_are_those_of_the_shipped_study(study: str) -> None:
    lines = list(csv.DictReader((RESULTS / f"{study}.csv").read_text().splitlines()))
    not_run = long_rows(load_study(study_file(study))[0]) - {row["label"] for row in lines}
    assert {(row["scenario"], row["label"], row["part"], int(row["seed"])) for row in lines} == {
        (cell_hash(one.scenario), one.row, one.part, one.seed)
        for one in planned(study)
        if one.row not in not_run
    }
    assert {row["state"] for row in lines} == {"done"}
    assert len({row["code"] for row in lines}) == 1


def test_a_study_is_published_without_the_long_rows_that_nobody_asked_for() -> None:
    study = parse_study(
        'metrics = ["accuracy"]\n[axes.net]\nquick = {}\nslow = {}\n'
        '[[override]]\nwhen = { net = "slow" }\nlong = true\n',
        name="study",
    )
    head = "cell,label,part,seed,split_seed,code,state,noise,site,metric,value\n"
    quick = "a,quick,,0,0,c,done,,,accuracy,0.5\n"
    slow = "b,slow,,0,0,d,new,,,,\n"
    kept = ["s,quick,,0,c,done,,,accuracy,0.5"]
    assert condensed(study, head + quick + slow, {"a": "s"}).splitlines()[1:] == kept
    # Some seeds of a row alone would pass for all of them.
    begun = "e,slow,,1,1,c,done,,,accuracy,0.5\n"
    with pytest.raises(RunFolderError, match="'slow' is new: finish the study"):
        condensed(study, head + quick + slow + begun, {"a": "s", "e": "t"})
    # A row that is not long must be there.
    with pytest.raises(RunFolderError, match="'quick' is new: finish the study"):
        condensed(study, head + quick.replace("done", "new"), {"a": "s"})


def test_an_unfinished_study_is_not_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, _ = load_study(find_study("robustness"))
    text = (
        "cell,label,part,seed,split_seed,code,state,noise,site,metric,value\n"
        "a,x,,0,0,c,done,,,accuracy,0.12345678\n"
        "a,x,,0,0,c,done,,va,accuracy,1\n"
        "a,x,,0,0,c,done,,,bytes_up,1\n"
    )
    assert condensed(study, text, {"a": "s"}).splitlines()[1:] == [
        "s,x,,0,c,done,,,accuracy,0.123457"
    ]
    for line, sentence in (
        ("a,x,,1,1,c,failed,,,,\n", "'x' is failed: finish the study before it is published"),
        ("a,x,,1,1,c,out of budget,,,accuracy,0.5\n", "'x' is out of budget"),
        (
            "a,x,,1,1,d,done,,,accuracy,0.5\n",
            "versions c and d made these cells: publish one version only",
        ),
    ):
        with pytest.raises(RunFolderError, match=sentence):
            condensed(study, text + line, {"a": "s"})
    folder = tmp_path / "robustness"
    scenario = parse_scenario("seed = 1")
    RunFolder.create(folder, Request.of({"x": scenario}, ""))
    cell = cell_hash(scenario.resolved())
    (folder / "results.csv").write_text(
        text.replace("\na,", f"\n{cell},").replace("done", "failed")
    )
    assert main([str(folder), "--results", str(tmp_path)]) == 1
    assert "finish the study" in capsys.readouterr().err


def test_the_demo_runs_offline_and_shows_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process of its own, which the wheel's test starts; workers are forked."""
    monkeypatch.delenv("SECUREFL_DATA", raising=False)
    with forked_workers():
        done = call("demo", "--display", "plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for label in (
        "pooled, no borders",
        "each hospital alone",
        "federated, no protection",
        "local DP-SGD, epsilon 8",
        "local DP-SGD, epsilon 3",
        "8 sites, one sends -5x: FedAvg",
        "8 sites, one sends -5x: median",
        "8 sites, one sends -5x: trimmed mean",
        "8 sites, one sends -5x: Krum",
        "4 hospitals: Krum",
    ):
        assert any(line.startswith(label) for line in done.stdout.splitlines())
    assert "refused: krum with f=1 needs 5 rows, plain with 4 clients reveals 4" in done.stdout
    assert (tmp_path / "securefl-demo" / "results.csv").exists()
    assert (tmp_path / "securefl-demo" / "report" / "index.html").exists()
    # Each test record counts once, judged by its own hospital's model; five splits.
    right: dict[int, float] = {}
    records: dict[int, int] = {}
    folder = RunFolder.open(tmp_path / "securefl-demo")
    for use in folder.request().uses:
        if use.label.startswith("hospital "):
            metrics = folder.named(use.cell).metrics()
            assert metrics is not None
            split, count = present(use.seed), metrics["records"]
            right[split] = right.get(split, 0.0) + present(metrics["accuracy"]) * count
            records[split] = records.get(split, 0) + count
    assert list(records.values()) == [250] * 5
    shares = [right[split] / 250 for split in right]
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("each hospital alone"))
    assert row.split()[3] == f"{sum(shares) / 5:.3f}"


def test_each_seed_of_privacy_utility_has_the_rate_that_its_own_validation_records_chose() -> None:
    rates = {
        (one.row, one.seed): f"{one.scenario['training']['lr']:g}"
        for one in planned("privacy-utility")
    }
    taken = set()
    for data in ("Heart", "digits"):
        name = f"{data.lower()}-learning-rates"
        study, _ = load_study(study_file(name))
        for (_, label), levels in chosen(study, committed(name)).items():
            kind = label.removeprefix("four folds (").removesuffix(")")
            rows = [f"{channel}, {kind}, {data}" for channel in ("plain", "masked")]
            if kind == "federated":
                rows = [
                    f"{baseline} ({data})" for baseline in ("federated", "pooled", "local only")
                ]
            for row in rows:
                assert tuple(rates[row, seed] for seed in study.seeds) == levels, row
                taken.add(row)
    assert taken == {row for row, _ in rates}


@pytest.mark.parametrize("study", TUNING)
def test_no_test_record_of_a_split_chooses_its_rate(study: str) -> None:
    for one in planned(study):
        data = one.scenario["data"]
        assert (data["test_on"], data["split_seed"]) == ("validation", one.seed)
    first = make_scenario(dict(planned(study)[0].scenario))
    judged = load_data(first).test.features.tolist()
    usual = load_data(
        parse_scenario(f"data = {{ name = '{first.data.name}' }}\ntraining = {{ kind = 'sgd' }}")
    )
    assert first.data.split_seed == 0
    hidden = {tuple(record) for record in usual.test.features.tolist()}
    training = {tuple(record) for site in usual.sites for record in site.train.features.tolist()}
    assert {tuple(record) for record in judged} <= training
    assert not ({tuple(record) for record in judged} & (hidden - training))


def test_the_tables_are_made_again_from_the_numbers_alone(tmp_path: Path) -> None:
    for name in ("robustness.csv", "heart-learning-rates.csv"):
        (tmp_path / name).write_bytes((RESULTS / name).read_bytes())
    where = ["--results", str(tmp_path)]
    assert main(["--tables-only", "robustness", "heart-learning-rates", *where]) == 0
    for name in ("robustness.md", "heart-learning-rates.md"):
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes()
    assert not (tmp_path / "figures").exists()


def test_every_page_prints_the_commands_that_make_it() -> None:
    page = (RESULTS / "poisoning.md").read_text(encoding="utf-8")
    assert "`securefl bench poisoning --out runs/poisoning`" in page
    assert "`python -m benchmarks.publish runs/poisoning`" in page
    assert "`python -m benchmarks.publish --tables-only poisoning`" in page
    tuned = (RESULTS / "digits-learning-rates.md").read_text(encoding="utf-8")
    name = "digits-learning-rates"
    command = f"securefl bench benchmarks/studies/tuning/{name}.toml --out runs/{name}"
    assert f"`{command}`" in tuned


def marked(study: str) -> dict[str, bool]:
    """Row -> whether the committed table marks its difference."""
    found, _ = load_study(find_study(study))
    told = differences(found, list(rows(found)), committed(study))
    return {row: row in told.marked for row in told.comparisons}


def test_a_loss_of_24_points_is_marked_and_none_of_noise_is() -> None:
    marks = marked("poisoning")
    assert marks["digits, Dirichlet .1, centred clipping, IPM"]  # 24 points in every seed alike
    found = committed("poisoning")
    for row in (row for row, mark in marks.items() if mark):
        data, rule = row.rsplit(", ", 2)[:2]
        reference = found.of(f"no attack ({data}, {rule})", "accuracy")
        lost = [
            (reference[seed] or 0.0) - (value or 0.0)
            for seed, value in found.of(row, "accuracy").items()
        ]
        assert min(lost) > 0.01, row  # every seed lost, and more than five test records


def test_no_study_marks_a_difference_within_the_error_of_its_test_records() -> None:
    for study in shipped_studies():
        found, _ = load_study(find_study(study))
        told = differences(found, list(rows(found)), committed(study))
        for row in told.marked:
            comparison = told.comparisons[row]
            assert comparison is not None
            assert comparison.records_error is not None
            assert abs(comparison.mean) > comparison.records_error > 0, row
            assert comparison.low is not None
            assert comparison.high is not None
            assert comparison.low > 0 or comparison.high < 0, row
