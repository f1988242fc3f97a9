"""Refining: other records, the same ledgers, a gate, and no half-made release after a crash."""

import json
from collections import Counter
from pathlib import Path

import pytest

from securefl.audit.lint import examine
from securefl.errors import BudgetExceeded, LedgerError, RunFailed, RunFolderError, ScenarioError
from securefl.files import locked
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import SampledGaussian
from securefl.privacy.past import past_of
from securefl.runs import api
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.runs.origin import origin_of
from securefl.runs.refining import refine as refining
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked
from securefl.runs.refining.refine import abandon, refine
from securefl.runs.refining.series import VERSIONS, Series
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.refining.conftest import CLAIM, PLAIN, Copied, play
from tests.values import present

MORE = {"share": 0.9}
EASY, HARD = parse_gate("accuracy >= previous - 0.5"), parse_gate("accuracy >= 1")


def booked(folder: Path, client: int) -> Counter[SampledGaussian]:
    """What a client's ledger books itself, without its past."""
    entries = read_entries(folder / f"{client}.jsonl")
    return Counter(SampledGaussian(**entry["event"]) for entry in entries if entry["event"])


def test_a_version_starts_from_the_released_one_and_has_other_records(copied: Copied) -> None:
    series = copied("plain")
    outcome = refine(series, Asked(MORE, gate=EASY), play)
    assert (outcome.version, outcome.decision.kind, series.released) == (2, "released", 2)
    second = series.cell(2).scenario
    assert second["data"]["share"] == 0.9
    assert (second["init_from"], second["refine"]["version"]) == (str(series.path), 2)
    # The values that the gate compared are those of both models on the second's test records.
    facts = outcome.decision.facts
    assert facts["value"] == present(series.cell(2).cell.metrics())["accuracy"]
    assert facts["previous"] == present(series.cell(1).cell.metrics())["accuracy"]
    sites = outcome.judged["sites"]
    metrics = present(series.cell(2).cell.metrics())
    assert {name: figures["new"]["accuracy"] for name, figures in sites.items()} == {
        name: figures["accuracy"] for name, figures in metrics["sites"].items()
    }


def test_a_version_that_fails_the_gate_is_kept_and_the_next_starts_from_the_released_one(
    copied: Copied,
) -> None:
    series = copied("plain")
    first = (series.cell(1).cell.checkpoint).read_bytes()
    assert refine(series, Asked(MORE, gate=HARD), play).decision.kind == "refused"
    assert series.released == 1
    assert series.cell(2).cell.checkpoint.exists()
    outcome = refine(series, Asked({"share": 0.8}, gate=EASY), play)
    assert (outcome.version, series.released) == (3, 3)
    assert series.cell(3).scenario["init_from"] == str(series.path)
    assert outcome.decision.facts["start"] == 1
    assert series.cell(1).cell.checkpoint.read_bytes() == first


def test_ledgers_go_on_over_all_versions_released_or_not_and_epsilons_compose(
    copied: Copied,
) -> None:
    series = copied("claim")
    gate = {"gate": parse_gate("accuracy >= 1"), "noise": 4.0, "records": 250}
    refused = refine(series, Asked(MORE, ("privacy.epsilon=5.0",), **gate), play)  # type: ignore[arg-type]
    assert (refused.decision.kind, series.released) == ("refused", 1)
    refine(series, Asked({"share": 0.8}, ("privacy.epsilon=7.0",)), play)
    assert series.released == 3
    assert series.cell(3).scenario["init_from"] == str(series.path)  # the weights of version 1
    for client in range(4):
        parts = [booked(series.cell(version).cell.ledgers, client) for version in (1, 2, 3)]
        gates = booked(series.folder(2) / "prepaid", client)
        assert gates == {SampledGaussian(1.0, 4.0, 1): 1}
        assert not booked(series.folder(3) / "prepaid", client)
        whole = sum([*parts, gates], Counter[SampledGaussian]())
        assert whole.total() == 2 + 1 + 2 + 2
        reported = present(series.cell(3).cell.metrics())["epsilons"][str(client)]
        assert reported == epsilon(whole, delta=1e-5)
        assert 0.99 * 7.0 <= reported <= 7.0
        # The second version's own epsilon has the gate in it already.
        second = sum([*parts[:2], gates], Counter[SampledGaussian]())
        assert present(series.cell(2).cell.metrics())["epsilons"][str(client)] == epsilon(
            second, delta=1e-5
        )
    for version in (1, 2, 3):
        (verdict,) = examine(series.run_of(version))
        assert verdict.findings == []


def test_a_rollback_gives_no_epsilon_back(copied: Copied) -> None:
    series = copied("claim")
    refine(series, Asked(MORE, ("privacy.epsilon=5.0",)), play)
    series.roll_back(None)
    refine(series, Asked({"share": 0.8}, ("privacy.epsilon=7.0",)), play)
    past = dict(past_of(series.cell(3).cell.ledgers / "0.jsonl").events)
    assert sum(past.values()) == 6  # two releases of each of three versions
    assert series.cell(3).scenario["init_from"] == str(series.path)


def test_noise_from_a_seed_is_marked_in_every_later_version(copied: Copied) -> None:
    series = copied("claim")
    seeded = ("privacy.epsilon=5.0", "privacy.noise=seeded")
    gate = parse_gate("accuracy >= 1")
    refine(series, Asked(MORE, seeded, gate, noise=4.0, records=250), play)
    assert series.released == 1
    # The third starts from the first, whose noise was the system's: its ledgers know better.
    refine(series, Asked(MORE, ("privacy.epsilon=7.0",)), play)
    name = series.cell(2).cell.status().run
    for version, before in ((2, []), (3, [name])):
        metrics = present(series.cell(version).cell.metrics())
        assert (metrics["noise"], metrics["seeded_before"]) == ("seeded", before)


def test_a_spent_budget_is_refused_and_leaves_nothing(copied: Copied) -> None:
    series = copied("claim")
    with pytest.raises(BudgetExceeded, match=r"has spent epsilon .* raise privacy\.epsilon"):
        refine(series, Asked(MORE), play)
    with pytest.raises(BudgetExceeded, match="cannot pay for a noisy gate"):
        refine(
            series,
            Asked(MORE, gate=parse_gate("accuracy >= 0.5"), noise=0.5, records=250),
            play,
        )
    assert series.versions == [1]
    assert series.history() == []


class Killed(BaseException):
    """A crash, as no code of ours catches it."""


def test_a_crash_before_the_decision_leaves_the_earlier_release_and_the_command_goes_on(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = copied("claim")
    asked = Asked(
        MORE,
        ("privacy.epsilon=5.0",),
        gate=parse_gate("accuracy >= previous - 1"),
        noise=4.0,
        records=250,
    )

    def crash(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(refining, "_decide", crash)
        with pytest.raises(Killed):
            refine(series, asked, play)
    assert series.released == 1
    model = series.cell(2).cell.checkpoint.read_bytes()
    ledger = (series.cell(2).cell.ledgers / "0.jsonl").read_bytes()
    with pytest.raises(ScenarioError, match="version 2 is under way with other records or options"):
        refine(series, Asked({"share": 0.8}), play)
    outcome = refine(series, asked, play)
    assert (outcome.version, outcome.again, series.released) == (2, False, 2)
    assert series.cell(2).cell.checkpoint.read_bytes() == model
    assert (series.cell(2).cell.ledgers / "0.jsonl").read_bytes() == ledger
    assert booked(series.folder(2) / "prepaid", 0).total() == 1


def test_a_crash_before_training_leaves_no_version(copied: Copied) -> None:
    series = copied("plain")

    def crash(scenario: Scenario, folder: Path, text: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        refine(series, Asked(MORE), crash)
    outcome = refine(series, Asked({"share": 0.8}), play)
    assert outcome.version == 2
    assert series.cell(2).scenario["data"]["share"] == 0.8


def test_a_run_that_fails_can_be_given_up_and_its_ledgers_count(copied: Copied) -> None:
    series = copied("claim")

    def fail(scenario: Scenario, folder: Path, text: str) -> None:
        play(scenario, folder, text)
        raise RunFailed("the disk is gone")

    with pytest.raises(RunFailed, match="the disk is gone"):
        refine(series, Asked(MORE, ("privacy.epsilon=5.0",)), fail)
    assert abandon(series) == 2
    assert present(series.decision(2)).facts == {"reason": "abandoned"}
    with pytest.raises(ScenarioError, match="is under way"):
        abandon(series)
    refine(series, Asked(MORE, ("privacy.epsilon=7.0",)), play)
    assert sum(dict(past_of(series.cell(3).cell.ledgers / "0.jsonl").events).values()) == 6


def test_the_same_request_again_trains_nothing(copied: Copied) -> None:
    series = copied("plain")
    first = refine(series, Asked(MORE, gate=EASY), play)

    def never(scenario: Scenario, folder: Path, text: str) -> None:
        raise AssertionError("trained")

    again = refine(series, Asked(MORE, gate=EASY), never)
    assert again.again
    assert (again.version, again.decision, again.judged) == (2, first.decision, first.judged)
    assert len(series.history()) == 1
    assert refine(series, Asked(MORE, ("seed=2",), EASY), play).version == 3


@pytest.mark.parametrize(
    ("name", "asked", "sentence"),
    [
        ("claim", Asked(MORE, ("privacy.epsilon=inf",)), "all versions of a model claim DP, or"),
        ("claim", Asked(MORE, ("privacy.delta=1e-6",)), "has privacy.delta = 1e-05, here it is"),
        ("plain", Asked({"split_seed": 2}), "data.split_seed = 0, here it is 2"),
        ("plain", Asked({"name": "digits"}), "natural"),
        ("plain", Asked(MORE, ("model.name=mlp",)), "they must be equal"),
        ("plain", Asked(MORE, ("init_from=x",)), "securefl refine fills it in, or --data says it"),
        ("plain", Asked(MORE, ("data.share=0.5",)), "securefl refine fills it in, or --data says"),
        ("plain", Asked(MORE, ("training.fine_tune=1",)), "refine releases one global model"),
        (
            "plain",
            Asked(MORE, gate=parse_gate("accuracy >= 0.5"), noise=1.0, records=9),
            "--gate-noise has no effect without a DP claim",
        ),
        (
            "claim",
            Asked(MORE, ("privacy.epsilon=5.0",), EASY),
            "each decision of a gate on the sites' own records is a release",
        ),
        (
            "claim",
            Asked(MORE, ("privacy.epsilon=5.0",), EASY, validation={"name": "heart"}),
            "its records must be public, and others than those that train",
        ),
        ("plain", Asked(MORE, (), EASY, validation={"name": "digits"}), "another form or other"),
        (
            "plain",
            Asked(MORE, (), parse_gate("rmse <= 1")),
            "rmse is not measured on records of this kind",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    copied: Copied, name: str, asked: Asked, sentence: str
) -> None:
    series = copied(name)
    with pytest.raises(ScenarioError, match=sentence):
        refine(series, asked, play)
    assert series.versions == [1]


def test_a_noisy_gate_that_cannot_count_is_refused_before_training(tmp_path: Path) -> None:
    dealt = CLAIM.replace("share = 0.6", 'partition = "iid", clients = 3')
    api.run(parse_scenario(dealt), tmp_path / "dealt")
    series = Series(tmp_path / "dealt")
    asked = Asked(
        MORE,
        ("privacy.epsilon=5.0",),
        parse_gate("accuracy >= 0.5"),
        noise=4.0,
        records=250,
    )
    with pytest.raises(ScenarioError, match="these sites have no test records of their own"):
        refine(series, asked, play)
    assert series.versions == [1]


def test_a_series_in_use_is_not_touched(copied: Copied) -> None:
    series = copied("plain")
    (series.path / VERSIONS).mkdir()
    with locked(series.path / VERSIONS):
        for act in (lambda: refine(series, Asked(MORE), play), lambda: abandon(series)):
            with pytest.raises(RunFolderError, match="is in use by another run"):
                act()


def test_other_records_are_for_later_versions_only(copied: Copied) -> None:
    series = copied("plain")
    text = PLAIN.replace("share = 0.6", "share = 0.9")
    with pytest.raises(ScenarioError, match=r"has data\.share = 0\.6, here it is 0\.9"):
        origin_of(parse_scenario(f'init_from = "{series.path}"\n{text}'))


def test_a_later_version_is_not_the_start_of_another_series(copied: Copied) -> None:
    series = copied("plain")
    refine(series, Asked(MORE), play)
    with pytest.raises(ScenarioError, match="is version 2 of a model; give the run folder of its"):
        Series(series.run_of(2))


def test_a_run_that_did_not_end_is_not_refined(copied: Copied) -> None:
    series = copied("plain")
    status = series.cell(1).cell.folder / "status.json"
    status.write_text(json.dumps({"state": "running", "run": "x"}))
    with pytest.raises(ScenarioError, match="did not end; resume it first"):
        refine(series, Asked(MORE), play)


def test_ledgers_that_lack_a_release_are_refused(copied: Copied) -> None:
    series = copied("claim")
    refine(series, Asked(MORE, ("privacy.epsilon=5.0",)), play)
    folder = RunFolder.open(series.run_of(2))
    text = folder.request().text
    (series.folder(2) / "prepaid" / "0.jsonl").unlink()
    with pytest.raises(LedgerError, match=r"0\.jsonl in .* lacks releases of the version that"):
        origin_of(parse_scenario(text))
    assert load_checkpoint(series.cell(2).cell.checkpoint).state.round == 2
