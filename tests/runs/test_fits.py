"""Fits that precede the rounds of whole runs: payments, files, crashes, and whom they serve."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from securefl.audit.inquiry import misfit
from securefl.channels.protocol import Observation, Seen
from securefl.data.harmonise.combat import combat_parts
from securefl.data.harmonise.moments import Moments, exact_moments, noised_moments
from securefl.data.harmonise.standardise import standardise_parts
from securefl.data.task import Examples, FederatedData
from securefl.errors import DataError, RunFailed, RunFolderError
from securefl.files import read_json, read_lines, write_json, write_lines
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import FIT_ROUND, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.lint.case import Case
from securefl.privacy.lint.lint import lint
from securefl.rng import seeded_keystream
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import fit_files, run_cell
from securefl.scenario.assemble import fit_files as fit_files_module
from securefl.scenario.assemble import fitting
from securefl.scenario.assemble.assemble import Assembled, assemble
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.fit_files import FitFiles
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.unlike import effects
from tests.data.harmonise.sites import Records, fitted, reference
from tests.runs.test_play import Killed, nothing, releases, run_until_killed
from tests.values import present

FEATURES, COVARIATES = [0, 1, 3, 4], [5]
SGD = """
rounds = 2
training = { kind = "sgd", batch = 64 }

[[data.harmonise]]
name = "combat"
features = [0, 1, 3, 4]
covariates = [5]
"""
# A given noise, and batches of all records: there is one sum of privacy losses to compute.
DP = """
rounds = 4
training = { kind = "dp_sgd", batch = 256 }
privacy = { noise = "seeded", epsilon = 8.0, noise_multiplier = 4.0 }

[[data.harmonise]]
name = "combat"
features = [0, 1, 3, 4]
noise_multiplier = 2.0
"""
CALIBRATED = DP.replace(", noise_multiplier = 4.0 }", " }")
MASKED = "channel.kind=masked"
SYSTEM = "privacy.noise=system"


def sgd(*overrides: str) -> Scenario:
    return parse_scenario(SGD, overrides=overrides)


def dp(*overrides: str) -> Scenario:
    return parse_scenario(DP, overrides=overrides)


def assembled(scenario: Scenario, folder: Path) -> Assembled:
    return assemble(scenario, run="test", ledgers=folder)


def table(examples: Examples, columns: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return examples.features[:, columns].double().numpy()


def records(data: FederatedData) -> list[Records]:
    return [
        Records(table(site.train, FEATURES), table(site.train, COVARIATES)) for site in data.sites
    ]


def run(scenario: Scenario, folder: Path, **options: Any) -> Cell:
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing, **options)
    return cell


def weights(cell: Cell) -> torch.Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


@pytest.mark.parametrize("overrides", [(), (MASKED,)], ids=["plain", "masked"])
def test_sites_train_on_the_records_of_a_pooled_combat(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    data = assembled(sgd(*overrides), tmp_path).data
    before = load_data(sgd())
    expected = reference(records(before))
    for site, raw, wanted in zip(data.sites, before.sites, expected, strict=True):
        # The records themselves are float32.
        assert np.abs(table(site.train, FEATURES) - wanted).max() < 1e-6
        others = [column for column in range(15) if column not in FEATURES]
        assert torch.equal(site.train.features[:, others], raw.train.features[:, others])
        assert torch.equal(site.train.labels, raw.train.labels)


def test_a_look_at_the_site_effect_fits_the_same_step(tmp_path: Path) -> None:
    data = fitting.fitted_here(present(sgd().data.fit), load_data(sgd()))
    for site, trained in zip(data.sites, assembled(sgd(), tmp_path).data.sites, strict=True):
        torch.testing.assert_close(site.train.features, trained.train.features, rtol=0, atol=1e-6)
    path = tmp_path / "s.toml"
    path.write_text(SGD)
    # All that tells the hospitals apart in the four columns is gone.
    found = effects(path, ())
    assert set(found) == {"before", "after"}
    assert present(found["after"].site["columns"]) < present(found["before"].site["columns"])


def test_test_records_get_the_map_of_their_site_and_teach_nothing(tmp_path: Path) -> None:
    scenario = sgd()
    before, after = load_data(scenario), assembled(scenario, tmp_path).data
    for raw, site in zip(before.sites, after.sites, strict=True):
        # The map of a site is affine in each feature and its covariate: least squares on the
        # training records finds it.
        design = np.column_stack(
            [np.ones(len(raw.train)), table(raw.train, COVARIATES), table(raw.train, FEATURES)]
        )
        found = np.linalg.lstsq(design, table(site.train, FEATURES), rcond=None)[0]
        assert raw.test is not None
        assert site.test is not None
        design = np.column_stack(
            [np.ones(len(raw.test)), table(raw.test, COVARIATES), table(raw.test, FEATURES)]
        )
        assert np.abs(table(site.test, FEATURES) - design @ found).max() < 1e-5
    tests = [site.test.features for site in after.sites if site.test is not None]
    assert torch.equal(after.test.features, torch.cat(tests))
    assert torch.equal(after.test.labels, before.test.labels)


def test_a_standardisation_goes_for_common_test_records_too(tmp_path: Path) -> None:
    scenario = sgd('data.harmonise=["standardise"]', "data.partition=iid", "data.clients=3")
    before, after = load_data(scenario), assembled(scenario, tmp_path).data
    train = torch.cat([site.train.features for site in before.sites]).double()
    scaled = (before.test.features.double() - train.mean(0)) / train.std(0, correction=0)
    torch.testing.assert_close(after.test.features.double(), scaled, rtol=0, atol=1e-5)
    everything = torch.cat([site.train.features for site in after.sites]).double()
    assert everything.mean(0).abs().max() < 1e-6
    assert (everything.std(0, correction=0) - 1).abs().max() < 1e-6


def test_a_new_site_stays_as_it_is_or_gets_a_location_and_scale_of_its_own(tmp_path: Path) -> None:
    data = {}
    for choice in ("unchanged", "fit"):
        step = f'{{name="combat", features=[0,1,3,4], covariates=[5], new_sites="{choice}"}}'
        scenario = sgd(f"data.harmonise=[{step}]", "data.held_out=1")
        data[choice] = assembled(scenario, tmp_path / choice).data
    before = load_data(scenario)
    assert torch.equal(data["unchanged"].test.features, before.test.features) or np.allclose(
        data["unchanged"].test.features, before.test.features, atol=1e-6
    )
    # Its own fit brings the mean of the age to that of the others, and not to its own.
    ages = [site.train.features[:, 0] for site in data["fit"].sites]
    usual = torch.cat(ages).mean()
    assert (before.test.features[:, 0].mean() - usual).abs() > 0.1
    assert (data["fit"].test.features[:, 0].mean() - usual).abs() < 0.05


def test_nothing_is_fitted_to_a_site_without_a_scale(tmp_path: Path) -> None:
    # No cholesterol was measured in Switzerland: column 2 is constant there.
    scenario = sgd('data.harmonise=["combat"]')
    with pytest.raises(DataError, match="site 'switzerland' column 2 is constant"):
        assembled(scenario, tmp_path)


def test_the_transcript_of_a_masked_run_has_three_sums_before_the_rounds(tmp_path: Path) -> None:
    cell = run(sgd(MASKED), tmp_path / "cell")
    lines = read_lines(cell.folder / "transcript.jsonl")
    fit = [line for line in lines if line["round"] == FIT_ROUND]
    assert lines[: len(fit)] == fit
    kinds = Counter(line["kind"] for line in fit if line["party"] == "server")
    assert kinds[Seen.SUM_OF_STATISTICS] == 3
    assert kinds[Seen.CLEAR_STATISTICS] == 0
    assert {line["round"] for line in lines} == {FIT_ROUND, 0, 1}
    # Without a claim nothing of a single site is kept.
    assert not cell.keeps.exists()


def test_the_masked_sums_of_a_run_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Observation] = []
    monkeypatch.setattr(fitting._Headers, "observe", lambda log, one: seen.append(one))
    assembled(sgd(MASKED), tmp_path)
    sums = [
        present(one.values)
        for one in seen
        if one.kind is Seen.SUM_OF_STATISTICS and one.party == "client 0"
    ]
    assert len(sums) == 3
    # The digits of four sites, added one by one, would be larger.
    assert 2**15 < max(float(digits.max()) for digits in sums) < 2**16


def test_the_fit_is_kept_with_the_run(tmp_path: Path) -> None:
    cell = run(sgd(), tmp_path / "cell")
    moments = [exact_moments(*site) for site in records(load_data(sgd()))]
    pooled = fitted(combat_parts(4, 1, claim=False), moments, p=4, q=1)
    kept = read_json(cell.folder / "harmonise.json")
    assert kept["records"] == 490
    assert np.allclose(kept["mean"], pooled.mean, atol=1e-12)
    assert np.allclose(kept["variance"], pooled.variance, atol=1e-12)
    assert np.allclose(kept["slopes"], pooled.slopes, atol=1e-12)


def test_workers_train_on_the_same_records(tmp_path: Path) -> None:
    one = run(sgd(), tmp_path / "one")
    two = run(sgd(), tmp_path / "two", workers=2)
    assert torch.equal(weights(one), weights(two))


# Under a claim.


def test_a_claim_books_the_fit_first_and_covers_it_with_training(tmp_path: Path) -> None:
    cell = run(parse_scenario(CALIBRATED), tmp_path / "cell")
    for client in range(4):
        assert releases(cell, client) == [FIT_ROUND, 0, 1, 2, 3]
        events = Counter(
            SampledGaussian(**entry["event"])
            for entry in read_entries(cell.ledgers / f"{client}.jsonl")
            if entry["event"]
        )
        assert events[SampledGaussian(1.0, 2.0, 1)] == 1
        assert 0.98 * 8 <= epsilon(events, delta=1e-5) <= 8
    metrics = cell.metrics()
    assert metrics is not None
    assert metrics["epsilon"] == pytest.approx(8, rel=0.02)


def test_the_lint_finds_a_fit_that_nobody_paid_for(tmp_path: Path) -> None:
    cell = run(dp(), tmp_path / "cell")
    ledgers = {i: read_entries(cell.ledgers / f"{i}.jsonl") for i in range(4)}
    rounds = tuple(cell.round_lines())

    def found(books: dict[int, list[dict[str, Any]]]) -> list[str]:
        case = Case(dp().resolved(), "done", ledgers=books, rounds=rounds, metrics=cell.metrics())
        return [finding.message for finding in lint(case) if finding.grave]

    assert found(ledgers) == []
    unpaid = {i: [line for line in book if line["release"][2] >= 0] for i, book in ledgers.items()}
    assert any("books nothing for the fit of data.harmonise" in text for text in found(unpaid))


def moments_of(cell: Cell, client: int) -> Moments:
    kept = read_json(cell.keeps / str(client) / "moments.json")
    return Moments.from_json(kept, p=4, q=0)


def test_everything_fitted_follows_from_one_noised_release_a_site(tmp_path: Path) -> None:
    cell = run(dp(), tmp_path / "cell")
    data = load_data(dp())
    noised = []
    for client, (site, declared) in enumerate(zip(data.sites, (200, 173, 31, 86), strict=True)):
        expected = noised_moments(
            table(site.train, FEATURES),
            np.zeros((len(site.train), 0)),
            records=declared,
            noise_multiplier=2.0,
            stream=seeded_keystream(0, "harmonise", client, 0),
        )
        noised.append(moments_of(cell, client))
        assert noised[-1].to_json() == expected.to_json()
    pooled = fitted(combat_parts(4, 0, claim=True), noised, p=4, q=0)
    kept = read_json(cell.folder / "harmonise.json")
    assert np.allclose(kept["mean"], pooled.mean, atol=1e-12)
    assert np.allclose(kept["variance"], pooled.variance, atol=1e-12)


def test_values_are_clipped_at_the_declared_bound(tmp_path: Path) -> None:
    step = '{name="standardise", columns=[0, 1], bound=0.25, noise_multiplier=100.0}'
    scenario = dp(f"data.harmonise=[{step}]")
    files = fit_files(Cell(tmp_path))
    made = parts(scenario, run="test", ledgers=tmp_path / "ledgers", fit=files)
    site = load_data(scenario).sites[0].train
    expected = noised_moments(
        np.clip(table(site, [0, 1]) / 0.25, -1, 1),
        np.zeros((len(site), 0)),
        records=200,
        noise_multiplier=100.0,
        stream=seeded_keystream(0, "harmonise", 0, 0),
    )
    moments = [present(files.moments(client, p=2, q=0)) for client in range(4)]
    assert moments[0].to_json() == expected.to_json()
    # What is kept is in units of the bound; records come back standardised all the same.
    pooled = present(files.pooled(p=2, q=0))
    fit = fitted(standardise_parts(2, claim=True), moments, p=2, q=0)
    assert np.allclose(pooled.mean, fit.mean, atol=1e-12)
    assert np.allclose(pooled.variance, fit.variance, atol=1e-12)
    scaled = (table(site, [0, 1]) / 0.25 - pooled.mean) / np.sqrt(pooled.variance)
    assert np.allclose(table(made.data.sites[0].train, [0, 1]), scaled, atol=1e-5)
    # Corrupt or not, everybody trains on these records.
    assert torch.equal(made.local.examples[0].features, made.data.sites[0].train.features)


def test_bounds_do_not_change_the_units_of_combat(tmp_path: Path) -> None:
    # A bound moves the clip. The features come back in their own units.
    step = '{name="combat", features=[0, 1], bound=4.0, noise_multiplier=2.0}'
    scenario = dp(f"data.harmonise=[{step}]")
    before, after = load_data(scenario), assembled(scenario, tmp_path).data
    spread = before.sites[0].train.features[:, 0].std()
    assert 0.4 < after.sites[0].train.features[:, 0].std() / spread < 2.5


# Crashes.


def killed_at(name: str) -> Callable[[Path, object], None]:
    """Returns what dies where a file of this name would be written."""

    def write(path: Path, value: object) -> None:
        if path.name == name:
            raise Killed
        write_json(path, value)

    return write


def killed(*given: Any, **more: Any) -> None:
    raise Killed


@pytest.mark.parametrize("overrides", [(), (SYSTEM,)], ids=["seeded", "system"])
@pytest.mark.parametrize("place", ["keep", "keep_moments", "settle", "play_fit", "harmonise.json"])
def test_a_fit_that_was_cut_short_is_paid_once_and_ends(
    place: str, overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, scenario = Cell(tmp_path / "cell"), dp(*overrides)
    with monkeypatch.context() as patch:
        if place == "play_fit":
            patch.setattr(fitting, "play_fit", killed)
        elif place == "settle":
            patch.setattr(Ledger, place, killed)
        elif place == "harmonise.json":
            # What was seen is noted by then, and will be again.
            patch.setattr(fit_files_module, "write_json", killed_at(place))
        else:
            patch.setattr(FitFiles, place, killed)
        with pytest.raises(Killed):
            run_cell(cell, scenario, on_round=nothing)
    assert releases(cell, 0) == [FIT_ROUND]
    last = 0 if place == "settle" else 3  # the last client whose moments are kept
    before = None if place == "keep_moments" else moments_of(cell, last).to_json()
    run_cell(cell, scenario, on_round=nothing)
    assert releases(cell, 0) == [FIT_ROUND, 0, 1, 2, 3]
    assert releases(cell, 0, "settle") == [FIT_ROUND, 0, 1, 2, 3]
    if before is not None:
        assert moments_of(cell, last).to_json() == before
    if not overrides:
        undisturbed = run(scenario, tmp_path / "undisturbed")
        assert torch.equal(weights(cell), weights(undisturbed))
    lines = read_lines(cell.folder / "transcript.jsonl")
    sums = [one for one in lines if one["kind"] == Seen.SUM_OF_STATISTICS]
    # Without covariates there are two sums, which the four clients get.
    assert len([one for one in sums if one["round"] == FIT_ROUND]) == 2 * 4


@pytest.mark.parametrize("overrides", [(), (SYSTEM,)], ids=["seeded", "system"])
def test_a_resumed_run_never_fits_again(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, scenario = Cell(tmp_path / "cell"), dp(*overrides)
    run_until_killed(monkeypatch, cell, scenario, round=3)
    fit = (cell.folder / "harmonise.json").read_text()
    monkeypatch.setattr(fitting, "play_fit", killed)
    monkeypatch.setattr(fitting, "noised_moments", killed)
    run_cell(cell, scenario, on_round=nothing)
    assert (cell.folder / "harmonise.json").read_text() == fit
    assert releases(cell, 0)[:1] == [FIT_ROUND]
    assert releases(cell, 0).count(FIT_ROUND) == 1


@pytest.mark.parametrize("done", [True, False], ids=["fitted", "settled"])
def test_noise_that_was_released_is_not_drawn_again(
    done: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell, scenario = Cell(tmp_path / "cell"), dp(SYSTEM)
    run_until_killed(monkeypatch, cell, scenario, round=2)
    (cell.keeps / "1" / "moments.json").unlink()
    if done:
        # Even if the line that settles it was lost with it.
        path = cell.ledgers / "1.jsonl"
        write_lines(path, read_lines(path)[:1])
    else:
        (cell.folder / "harmonise.json").unlink()
    with pytest.raises(RunFolderError, match="moments of client 1 were released and are gone"):
        run_cell(cell, scenario, on_round=nothing)


def test_seeded_noise_is_drawn_again_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, scenario = Cell(tmp_path / "cell"), dp()
    run_until_killed(monkeypatch, cell, scenario, round=2)
    before = moments_of(cell, 1).to_json()
    (cell.keeps / "1" / "moments.json").unlink()
    run_cell(cell, scenario, on_round=nothing)
    assert moments_of(cell, 1).to_json() == before


@pytest.mark.parametrize("content", ["{}", "[", '{"slopes": 1}'])
def test_a_damaged_file_ends_a_resumed_run_in_one_sentence(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = dp()
    for name in ("harmonise.json", "clients/2/moments.json"):
        cell = Cell(tmp_path / name.replace("/", "-"))
        run_until_killed(monkeypatch, cell, scenario, round=1)
        (cell.folder / name).write_text(content)
        with pytest.raises(RunFolderError, match=r"is damaged"):
            run_cell(cell, scenario, on_round=nothing)


def test_a_fit_that_fails_ends_the_run_and_keeps_the_reservations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*given: Any, **more: Any) -> None:
        raise RunFailed("data.harmonise: the sum of numbers and sums failed")

    cell = Cell(tmp_path / "cell")
    monkeypatch.setattr(fitting, "play_fit", failed)
    with pytest.raises(RunFailed, match="numbers and sums failed"):
        run_cell(cell, dp(), on_round=nothing)
    assert json.loads((cell.folder / "status.json").read_text())["state"] == "failed"
    assert releases(cell, 2) == [FIT_ROUND]
    assert not (cell.folder / "harmonise.json").exists()


def test_no_audit_looks_at_a_fit() -> None:
    assert "which its shadows would have to fit again" in misfit(dp(), "server")
    assert misfit(parse_scenario(""), "server") == ""
