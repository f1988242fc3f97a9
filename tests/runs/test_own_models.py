"""Sites with models of their own in whole runs: what travels, who is judged how, what it costs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import securefl
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.federation.values import State
from securefl.files import read_lines
from securefl.learning.algorithms.ditto import Ditto
from securefl.learning.algorithms.protocol import Place
from securefl.privacy.chain import read_entries
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.assemble.own_models import _tuned
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_algorithms import Still, killed_after_settling
from tests.runs.test_play import comparable, nothing, run_until_killed
from tests.scenario.texts import refusal
from tests.values import present

MODEL = 'model = { name = "mlp", hidden = [4] }\n'
ALGORITHMS = {
    "fedrep": 'epochs = 3, algorithm = "fedrep", head_epochs = 1',
    "ditto": 'algorithm = "ditto", lam = 0.3',
    "tuned": "fine_tune = 2",
}
MASKED = 'channel = { kind = "masked", secrets = "seeded" }\n'
CKKS = 'channel = { kind = "ckks" }\nweights = "equal"\n'


def sgd(keys: str, more: str = "") -> Scenario:
    text = f'rounds = 4\ndata = {{ name = "heart" }}\n{MODEL}'
    return parse_scenario(f'{text}training = {{ kind = "sgd", lr = 0.1, {keys} }}\n{more}')


def dp(keys: str, more: str = "") -> Scenario:
    text = f'rounds = 4\ndata = {{ name = "heart" }}\n{MODEL}'
    claim = 'privacy = { noise = "seeded", noise_multiplier = 2.0 }\n'
    return parse_scenario(f"{text}training = {{ batch = 64, lr = 0.1, {keys} }}\n{claim}{more}")


def played(scenario: Scenario, folder: Path, **options: Any) -> Cell:
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing, **options)
    return cell


def weights(cell: Cell) -> torch.Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


def test_under_fedrep_no_head_travels(tmp_path: Path) -> None:
    scenario = sgd(ALGORITHMS["fedrep"])
    body, top = 15 * 4 + 4, 4 + 1
    cell = played(scenario, tmp_path / "cell")
    sizes = {
        line["bytes"]
        for line in read_lines(cell.folder / "transcript.jsonl")
        if line["kind"] in ("own update", "global model")
    }
    assert sizes == {4 * body}
    first = assemble(scenario, run="", ledgers=tmp_path / "none").start.weights
    last = weights(cell)
    assert torch.equal(last[body:], first[body:])
    assert not torch.equal(last[:body], first[:body])
    kept = load_file(cell.keeps / "1" / "state.safetensors")
    assert {tuple(value.shape) for value in kept.values()} == {(top,)}


@pytest.mark.parametrize("name", ["fedrep", "ditto"])
@pytest.mark.parametrize("channel", [MASKED, CKKS], ids=["masked", "ckks"])
def test_channels_carry_it_up_to_rounding(name: str, channel: str, tmp_path: Path) -> None:
    more = 'weights = "equal"\n' if channel == CKKS else ""
    plain = weights(played(sgd(ALGORITHMS[name], more), tmp_path / "plain"))
    other = weights(played(sgd(ALGORITHMS[name], channel), tmp_path / "other"))
    torch.testing.assert_close(other, plain, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["ditto", "tuned"])
def test_the_global_model_is_fedavgs_to_the_last_bit(name: str, tmp_path: Path) -> None:
    for make in (sgd, dp):
        plain = played(make("epochs = 1"), tmp_path / f"{make.__name__}-fedavg")
        own = played(make(ALGORITHMS[name]), tmp_path / f"{make.__name__}-own")
        ours, theirs = weights(own), weights(plain)
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32))
        judged = [cell.metrics() for cell in (own, plain)]
        assert present(judged[0])["accuracy"] == present(judged[1])["accuracy"]
        assert present(judged[0])["sites"] != present(judged[1])["sites"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_killed_run_goes_on_with_the_same_own_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    scenario = dp(ALGORITHMS[name])
    expected = run_cell(whole, scenario, on_round=nothing)
    run_until_killed(monkeypatch, killed, scenario, round=2)
    assert comparable(run_cell(killed, scenario, on_round=nothing)) == comparable(expected)
    assert torch.equal(weights(killed), weights(whole))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_ledger_has_what_the_shared_training_costs(name: str, tmp_path: Path) -> None:
    """An own model is fitted without noise, and no claim covers it; a personal part has noise."""
    epochs = "epochs = 3" if name == "fedrep" else "epochs = 1"
    spent = []
    for number, keys in enumerate((epochs, ALGORITHMS[name])):
        cell = played(dp(keys), tmp_path / str(number))
        ledgers = [read_entries(cell.ledgers / f"{client}.jsonl") for client in range(4)]
        spent.append([(e["kind"], e["event"]) for entries in ledgers for e in entries])
    assert spent[0] == spent[1]
    words = present(cell.metrics()).get("site_models")
    outside = "each site's own, outside the guarantee: in a simulation only"
    assert words == ("each site's own" if name == "fedrep" else outside)


def test_a_personal_part_under_a_claim_is_clipped_and_noised_with_the_rest(tmp_path: Path) -> None:
    """Much noise shows in the personal part as in the shared one."""
    own = []
    for noise in (1.0, 30.0):
        text = f'privacy = {{ noise = "seeded", noise_multiplier = {noise} }}'
        keys = f"training = {{ batch = 64, lr = 0.1, {ALGORITHMS['fedrep']} }}"
        one = parse_scenario(f'rounds = 1\ndata = {{ name = "heart" }}\n{MODEL}{keys}\n{text}\n')
        cell = played(one, tmp_path / str(noise))
        moved = load_file(cell.keeps / "0" / "state.safetensors")["0"]
        start = assemble(one, run="", ledgers=tmp_path / f"none-{noise}").start.weights
        own.append((moved - start[-len(moved) :]).norm().item())
    assert own[1] > 3 * own[0]


def test_sites_are_judged_together_with_their_own_models(tmp_path: Path) -> None:
    """The accuracy of the run is that of all sites' answers, each by its own model."""
    cell = played(sgd(ALGORITHMS["fedrep"]), tmp_path / "cell")
    metrics = present(cell.metrics())
    sites = metrics["sites"].values()
    right = sum(present(site["accuracy"]) * site["records"] for site in sites)
    assert metrics["records"] == sum(site["records"] for site in sites)
    assert metrics["accuracy"] == pytest.approx(right / metrics["records"])


REFUSED = [
    ('algorithm = "fedbn"', "training: fedbn needs norm layers, and the model has none that train"),
    ('algorithm = "fedrep"', "training.algorithm = 'fedrep' needs training.head_epochs"),
    (
        'algorithm = "fedrep", head_epochs = 1',
        "training.head_epochs = 1 leaves the body none of the 1 epochs; raise training.epochs",
    ),
    (
        'algorithm = "fedrep", head_epochs = 1, epochs = 2, personal = ["*"]',
        "training: the personal part is the whole model",
    ),
    (
        'algorithm = "fedbn", personal = ["0.*"]',
        "training.personal has an effect with algorithm = 'fedrep' only",
    ),
    ('algorithm = "ditto"', "training.algorithm = 'ditto' needs training.lam"),
    (
        'algorithm = "ditto", lam = 0.1, fine_tune = 1',
        "training.fine_tune has no effect with training.algorithm = 'ditto'",
    ),
]


@pytest.mark.parametrize(("keys", "sentence"), REFUSED)
def test_what_cannot_work_is_refused(keys: str, sentence: str) -> None:
    assert sentence in refusal(f"{MODEL}training = {{ {keys} }}\n")


def test_sites_without_test_records_of_their_own_are_refused() -> None:
    data = 'data = { name = "digits", clients = 4 }\nweights = "equal"\n'
    keys = 'training = { kind = "sgd", algorithm = "ditto", lam = 0.1 }\n'
    assert "no site has test records of its own; use 'natural' sites" in refusal(data + keys)


def test_own_models_and_the_best_global_one_do_not_go_together() -> None:
    more = 'evaluate = { keep = "best" }\ndata = { test_on = "validation" }\n'
    keys = 'training = { kind = "sgd", algorithm = "ditto", lam = 0.1 }\n'
    assert "would end with an earlier global model" in refusal(keys + more)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_between_sites_it_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match="does not run between sites yet"):
        check_deployable(sgd(ALGORITHMS[name]))


class Normed(nn.Module):
    """A convolution with batch norm, for images of 4 x 4 pixels."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()),
            nn.Linear(8, task.outputs),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def scanners() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns three sites whose images differ in brightness and contrast."""
    generator = torch.Generator().manual_seed(3)
    sites = []
    for factor, offset in ((1.0, 0.0), (0.3, 2.0), (4.0, -3.0)):
        images = torch.randn(40, 1, 4, 4, generator=generator)
        sites.append((factor * images + offset, (images.mean((1, 2, 3)) > 0).long()))
    return sites


def test_under_fedbn_norm_layers_stay_at_their_sites(tmp_path: Path) -> None:
    given = {
        "rounds": 3,
        "data": {"test_share": 0.3},
        "training": {"kind": "sgd", "lr": 0.1, "algorithm": "fedbn"},
    }
    result = securefl.run(given, tmp_path / "run", data=scanners(), model=Normed)
    (cell,) = result.folder.glob("cells/*")
    norms, rest = 2 + 2 + 2 + 2, 2 * 9 + 2 + 8 + 1
    seen = read_lines(cell / "transcript.jsonl")
    kinds = ("own update", "global model")
    assert {line["bytes"] for line in seen if line["kind"] in kinds} == {4 * rest}
    means = []
    for site in range(3):
        kept = load_file(cell / "clients" / str(site) / "state.safetensors")
        assert {tuple(value.shape) for value in kept.values()} == {(norms,)}
        means.append(kept["2"][4:6])  # behind weight and bias
    # Their running means are those of their own images, which differ in brightness.
    assert (means[1] - means[0]).abs().max() > 0.3
    assert len(result["sites"]) == 3


def test_an_abandoned_round_is_judged_with_the_models_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own parts of a round that a crash undid are no part of its figures."""
    cell = Cell(tmp_path / "cell")
    keys = ALGORITHMS["fedrep"]
    text = f'rounds = 3\ndata = {{ name = "heart" }}\n{MODEL}'
    text += (
        f"training = {{ batch = 64, lr = 0.5, {keys} }}\nprivacy = {{ noise_multiplier = 2.0 }}\n"
    )
    scenario = parse_scenario(text)
    killed_after_settling(monkeypatch, cell, scenario, round=1)
    run_cell(cell, scenario, on_round=nothing)
    first, second, _ = cell.rounds()
    assert second.abandoned
    assert second.accuracy == first.accuracy


@pytest.mark.parametrize("name", ["ditto", "tuned"])
def test_under_a_claim_the_steps_of_an_own_model_are_shown_to_nobody(
    name: str, tmp_path: Path
) -> None:
    """Their number follows from the real number of records."""
    steps = set()
    records = "records = [150, 150, 150, 150]"
    text = f'rounds = 2\ndata = {{ name = "heart" }}\n{MODEL}'
    text += f"training = {{ batch = 32, lr = 0.1, {ALGORITHMS[name]} }}\n"
    text += f'privacy = {{ noise = "seeded", noise_multiplier = 2.0, {records} }}\n'
    scenario = parse_scenario(text)
    played(scenario, tmp_path / "cell", on_step=lambda client, step, of: steps.add((client, of)))
    plans = {client: scenario.facts.plan_without_noise(client).steps for client in range(4)}
    assert steps == set(plans.items())


class Failing:
    """A trainer of a model that some records break."""

    cost = None

    def fit(self, weights: torch.Tensor, pull: object = None, *, round: int) -> Any:
        raise ValueError("these records")


@pytest.mark.parametrize("silent", [False, True])
def test_under_a_claim_an_own_model_that_fails_does_not_show(silent: bool) -> None:
    place = Place(0, 1, None, None, torch.zeros(2), personal=Failing(), silent=silent)
    terms = sgd(ALGORITHMS["ditto"]).facts._terms_on(nn.Linear(1, 1))
    client = Ditto(terms, lam=0.1).at_client(Still(), place)
    if silent:
        assert client.fit(torch.ones(2), round=0).delta.tolist() == [0.0, 0.0]
        assert _tuned(Failing(), 0, State(torch.ones(2)), silent=True).tolist() == [1.0, 1.0]
        return
    with pytest.raises(ValueError, match="these records"):
        client.fit(torch.ones(2), round=0)
    with pytest.raises(ValueError, match="these records"):
        _tuned(Failing(), 0, State(torch.ones(2)), silent=False)


def test_figures_outside_the_guarantee_stay_out_of_the_table(tmp_path: Path) -> None:
    for name, make, sites in (("ditto", dp, set()), ("ditto", sgd, {"cleveland"})):
        result = securefl.run(make(ALGORITHMS[name]), tmp_path / make.__name__)
        lines = (result.folder / "results.csv").read_text().splitlines()
        place = lines[0].split(",").index("site")
        assert {line.split(",")[place] for line in lines[1:]} - {""} >= sites
        assert sites or {line.split(",")[place] for line in lines[1:]} == {""}


def test_ditto_trains_its_global_model_in_stacks_as_fedavg_does(tmp_path: Path) -> None:
    more = "engine = { stack = 4 }\n"
    plain = weights(played(sgd("epochs = 1", more), tmp_path / "fedavg"))
    cell = played(sgd(ALGORITHMS["ditto"], more), tmp_path / "ditto")
    assert present(cell.metrics()).get("stack") == 4
    assert torch.equal(weights(cell).view(torch.int32), plain.view(torch.int32))
