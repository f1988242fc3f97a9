"""What updates show: which attacks an adversary's sight allows, what they find beside guessing, what is written.

Mutants killed:
look_at: the whole run played; training records among the attacker's own; only the target watched.
Sight: a step counted as a sum; a sum as a step; those on the adversary's side counted among the others.
counted: the steps of one client for all; the end of the way where steps start; the first layer for the last.
reconstructions: the model left where labels were counted; many records, or a sum of several steps, tried all the same;
the worst match; guesses of the target's own records.
attributes: shadows of the target's records; coins that always fall alike; others left out of a sum; the source of
clients that are not seen by themselves.
implanted: no implant; the implant in the run's own model; ckks let by.
findings: an earlier figure left; pictures without being asked for, in a run's folder, or in the JSON; the flags missing
from the command.
"""

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attacks.reconstruction.local_steps import LocalSteps, local_update
from attacks.reconstruction.pictures import psnr, ssim
from securefl.audit.audit import audit
from securefl.audit.exposure.exposures import attributes, exposed
from securefl.audit.exposure.labels import labels_of, last_layer_gradients
from securefl.audit.exposure.look import Look, look_at
from securefl.audit.exposure.reconstruction import _error_of_median, implanted, reconstructions
from securefl.audit.exposure.result import Exposure, told_exposures
from securefl.audit.findings import Asked, Findings, lines_of, write
from securefl.audit.inquiry import Inquiry
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.membership import gradients
from securefl.audit.verdicts import HEAD, MECHANISM, Line, Stand
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import RunFolderError, ScenarioError
from securefl.learning.models.linear import mlp
from securefl.privacy.remember import fresh
from securefl.runs import api
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.trainers import local_training
from securefl.scenario.scenario import parse_scenario
from securefl.ui.report import write_report
from securefl.ui.report.audits import COLUMNS
from securefl.vector import to_vector

DIGITS = """
rounds = 8
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4 }
model = { name = "mlp", hidden = [16] }
training = { kind = "sgd", batch = 32, lr = 0.1 }
"""
ONE_STEP = ("data.most=4", "training.batch=4")
FEW = ("data.share=0.0127", "training.batch=4")  # about four records a client, under a claim
DP = (
    "training.kind=dp_sgd",
    "privacy.noise=seeded",
    "privacy.epsilon=8.0",
    "privacy.records=[4, 4, 4, 4]",
)
IMAGES = Task(features=256, classes=2, image=(1, 16, 16))


def look(who: str, *overrides: str, colluders: int = 1, target: int = 0) -> Look:
    inquiry = Inquiry(parse_scenario(DIGITS, overrides=overrides), who, colluders, target)
    return look_at(inquiry, on_round=lambda label, record: None)


def sums(channel: str, weights: str) -> tuple[str, ...]:
    """A channel and weights, with what masks ask for where clients report theirs."""
    meant = ("channel.reveal_counts=true",) if (channel, weights) == ("masked", "reported") else ()
    return (f"channel.kind={channel}", f"weights={weights}", *meant)


def by_name(found: list[Exposure]) -> dict[str, Exposure]:
    return {one.attack: one for one in found}


def everything(look: Look) -> dict[str, Exposure]:
    return by_name([*reconstructions(look), *attributes(look)])


# --- who looks at what


def test_the_first_rounds_are_played_and_everybody_is_watched_who_is_not_on_its_side() -> None:
    rounds: list[int] = []
    inquiry = Inquiry(parse_scenario(DIGITS), "server+clients", 1, 2)
    found = look_at(inquiry, on_round=lambda label, record: rounds.append(record.round))
    assert rounds == [0, 1, 2, 3, 4]
    assert list(found.knowledge) == [2, 1, 3]  # the target, whose ledger counts, comes first
    assert all(len(known.moves) == 5 for known in found.knowledge.values())


def test_the_attackers_own_records_are_test_records() -> None:
    found = look("server")
    test = {tuple(row.tolist()) for row in load_data(parse_scenario(DIGITS)).test.features}
    assert len(found.known) == min(1000, len(test))
    assert all(tuple(row.tolist()) in test for row in found.known.features)


@pytest.mark.parametrize(
    ("who", "channel", "about"),
    [
        ("server", "plain", {0}),
        ("server", "masked", {0, 1, 2, 3}),
        ("clients", "plain", {0, 2, 3}),  # client 1 takes its own out of the step
        ("server+clients", "masked", {0, 2, 3}),
        ("server+key-holder", "ckks", {0}),
        ("clients", "ckks", {0, 2, 3}),
        ("outsider-weights", "plain", set()),
    ],
)
@pytest.mark.parametrize("weights", ["equal", "reported"])
def test_labels_are_counted_in_whatever_is_seen(
    who: str, channel: str, about: set[int], weights: str
) -> None:
    """One step of an untrained model, sites of other sizes: exactly but for rounding, whatever each counts."""
    skewed = (
        "data.partition=dirichlet",
        "data.alpha=0.3",
        "data.minimum=40",
        "training.batch=1300",
    )
    found = look(who, *sums(channel, weights), *skewed)
    update = found.update
    if not about:
        assert update is None
        return
    assert update is not None
    assert update.counts is not None
    assert set(update.counts) == about
    assert update.round == 0
    assert update.alone is (about == {0})
    labels = everything(found)["labels"]
    assert labels.measured is not None
    assert labels.guessing is not None
    assert labels.measured > 0.97
    assert labels.guessing < 0.97


def test_a_step_that_is_no_mean_is_of_nobody_that_could_be_counted() -> None:
    found = look("clients", "defense.rule=median")
    assert found.update is not None
    assert found.update.counts is None
    shown = everything(found)
    assert (
        shown["labels"].why
        == shown["property"].why
        == "what is seen is no sum of updates by weights that are known"
    )


def test_steps_are_those_of_the_plan_under_dp_and_of_the_records_elsewhere() -> None:
    assert look("server", "data.most=9", "training.batch=4", "training.epochs=2").steps(1) == 6
    declared = ("privacy.records=[13, 4, 4, 4]", "privacy.epsilon=8.0")
    found = look("server", "data.share=0.06", "training.batch=4", *DP[:2], *declared)
    assert [found.steps(client) for client in range(4)] == [4, 1, 1, 1]


def test_records_are_those_that_were_trained_on_poisoned_ones_too() -> None:
    flipped = 'attack={ name = "label_flip", clients = [1] }'
    found, honest = look("server", flipped), look("server")
    assert not torch.equal(found.data.sites[1].train.labels, honest.data.sites[1].train.labels)
    assert torch.equal(found.data.sites[2].train.labels, honest.data.sites[2].train.labels)
    of_sum = everything(
        look("server", flipped, "channel.kind=masked", "training.batch=400", "training.lr=0.01")
    )
    assert of_sum["labels"].measured is not None
    assert of_sum["labels"].measured > 0.99


# --- labels


def test_labels_of_counts_ascend() -> None:
    assert labels_of(torch.tensor([2, 0, 3])).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("channel", "epochs", "lr", "batch"),
    [("plain", 2, 0.3, 32), ("plain", 1, 2.0, 160), ("masked", 2, 0.3, 32)],
)
def test_labels_of_several_steps_are_counted_where_steps_start(
    channel: str, epochs: int, lr: float, batch: int
) -> None:
    """Of two long steps the second starts half way; of a sum a client goes its part of the way."""
    values = (
        f"channel.kind={channel}",
        f"training.epochs={epochs}",
        f"training.lr={lr}",
        f"training.batch={batch}",
    )
    found = look("server", *values)
    shown = everything(found)["labels"]
    assert shown.measured is not None
    assert shown.guessing is not None
    assert shown.measured > 0.95 > shown.guessing


def test_last_layer_gradients_are_the_models_own() -> None:
    for task in (IMAGES, replace(IMAGES, classes=5)):
        model = mlp(task, hidden=(7,), generator=torch.Generator().manual_seed(0))
        examples = images(6, 3)
        weights = 2 * to_vector(model)
        whole = gradients(model, task, examples, weights)
        found = last_layer_gradients(model, task, examples, weights)
        assert found.shape == (6, 8 * task.outputs)
        assert torch.allclose(found, whole[:, -found.shape[1] :].double(), atol=1e-6)


# --- reconstruction


def images(n: int, seed: int) -> Examples:
    draws = torch.Generator().manual_seed(seed)
    at = torch.arange(16) / 16
    waves = [
        torch.sin(6.28 * (at[:, None] * a + at[None] * b))
        for a, b in ((1, 0), (0, 1), (1, 1), (0.5, 1))
    ]
    mixed = torch.einsum("nk,kij->nij", torch.randn(n, 4, generator=draws), torch.stack(waves))
    shown = (mixed / mixed.abs().amax(dim=(1, 2), keepdim=True))[:, None]
    return Examples(((shown + 1) * 127.5).round().to(torch.uint8), torch.arange(n) % 2)


def look_at_images(
    records: int,
    *,
    batch: int,
    clients: int = 1,
    mixed: bool = False,
    epochs: int = 1,
    lr: float = 0.1,
) -> Look:
    """By hand: clients that each took local steps on images, and a server that saw the target's, or their sum."""
    overrides = (f"training.batch={batch}", f"training.epochs={epochs}", f"training.lr={lr}")
    inquiry = Inquiry(parse_scenario(DIGITS, overrides=overrides), "server")
    model = mlp(IMAGES, hidden=(32,), generator=torch.Generator().manual_seed(0))
    sites = tuple(Site(str(seed), images(records, seed), None) for seed in range(clients))
    local = LocalSteps(lr=lr, batch=batch, epochs=epochs)
    updates = [
        local_update(
            model, IMAGES.loss, IMAGES.inputs(s.train.features), s.train.labels, local=local
        ).detach()
        for s in sites
    ]
    moved = torch.stack(updates).sum(dim=0)
    if mixed:
        moved = moved[torch.randperm(len(moved), generator=torch.Generator().manual_seed(1))]
    sight = Sight(0, to_vector(model), moved, clients == 1, dict.fromkeys(range(clients), 1.0))
    data = FederatedData(IMAGES, sites, images(4, 90))
    trained = local_training(inquiry.scenario, data, model, {})
    return Look(inquiry, data, model, images(60, 91), trained, {0: Knowledge((sight,), None, None)})


def test_one_image_is_found_and_in_shuffled_updates_none() -> None:
    found = by_name(list(reconstructions(look_at_images(1, batch=1))))
    assert list(found) == ["analytic leakage of the first layer", "Inverting Gradients"]
    for exposure in found.values():
        assert exposure.measured is not None
        assert exposure.guessing is not None
        assert exposure.measured > 25 > exposure.guessing
        assert exposure.why.startswith(
            "PSNR, median over 1 record of the target; 1 of them at 25 dB or more"
        )
    assert found["analytic leakage of the first layer"].measured == pytest.approx(120, abs=10)
    for exposure in reconstructions(look_at_images(1, batch=1, mixed=True)):
        assert exposure.measured is not None
        assert exposure.guessing is not None
        assert exposure.measured < exposure.guessing + 1


def subject_bounds(subject: Look) -> tuple[float, float]:
    known = IMAGES.inputs(subject.known.features)
    return float(known.min()), float(known.max())


def test_pictures_are_the_records_and_the_nearest_of_what_was_found() -> None:
    subject = look_at_images(2, batch=2)
    found = by_name(list(reconstructions(subject)))["Inverting Gradients"]
    assert found.pictures is not None
    assert torch.equal(found.pictures.truth, IMAGES.inputs(subject.data.sites[0].train.features))
    assert found.pictures.found.shape == (2, 1, 16, 16)
    assert float(found.pictures.found.abs().max()) <= 1
    alike = ssim(found.pictures.found, found.pictures.truth, bounds=subject_bounds(subject))
    assert f"SSIM {float(alike.mean()):.2f}" in found.why
    each = psnr(found.pictures.found, found.pictures.truth, bounds=(-1, 1))
    assert found.measured == pytest.approx(
        float(each.mean()), abs=0.5
    )  # the median of two is their mean
    assert float(each.max() - each.min()) > 1


def test_guessing_offers_as_many_records_as_the_attack() -> None:
    """Whoever offers many rows comes near some record by luck."""
    subject = look_at_images(1, batch=1)
    lines = {}
    for rows in (1, 32):
        known = Examples(subject.known.features[:40], subject.known.labels[:40])
        few = replace(
            subject, known=known, model=mlp(IMAGES, hidden=(rows,), generator=torch.Generator())
        )
        update = torch.ones(len(to_vector(few.model)))
        sight = Sight(0, to_vector(few.model), update, True, {0: 1.0})
        told = by_name(
            list(reconstructions(replace(few, knowledge={0: Knowledge((sight,), None, None)})))
        )
        lines[rows] = told["analytic leakage of the first layer"].guessing
    truth = IMAGES.inputs(subject.data.sites[0].train.features)
    own = IMAGES.inputs(subject.known.features[:32])
    assert lines[1] is not None
    assert lines[32] is not None
    assert lines[32] > lines[1]
    bounds = float(own.min()), float(own.max())
    assert lines[32] >= float(psnr(own, truth.expand_as(own), bounds=bounds).max()) - 0.1


def test_steps_of_single_records_are_played_again() -> None:
    found = by_name(list(reconstructions(look_at_images(1, batch=1, epochs=8, lr=1.0))))[
        "Inverting Gradients"
    ]
    assert found.measured is not None
    assert found.measured > 35  # 28 dB by steps of another length


def test_a_sum_of_single_steps_is_a_batch_and_of_several_is_not_tried() -> None:
    of_sum = by_name(list(reconstructions(look_at_images(1, batch=1, clients=3))))[
        "Inverting Gradients"
    ]
    assert "median over 3 records of 3 clients together" in of_sum.why
    assert of_sum.measured is not None
    assert of_sum.guessing is not None
    assert of_sum.measured > of_sum.guessing + 2
    several = by_name(list(reconstructions(look_at_images(2, batch=1, clients=3))))[
        "Inverting Gradients"
    ]
    assert several.measured is None
    assert several.why == "not tried on a sum of 3 updates that is not the gradient of a batch"
    uneven = look_at_images(1, batch=1, clients=3)
    sight = uneven.knowledge[0].sights[0]
    counted = replace(sight, counts={0: 1.0, 1: 1.0, 2: 1.1})
    told = by_name(
        list(reconstructions(replace(uneven, knowledge={0: Knowledge((counted,), None, None)})))
    )
    assert told["Inverting Gradients"].why == several.why


def test_many_records_are_not_tried() -> None:
    for subject, many in (
        (look_at_images(17, batch=17), "17 records in 1 local step"),
        (look_at_images(1, batch=1, epochs=17), "1 record in 17 local steps"),
    ):
        found = by_name(list(reconstructions(subject)))["Inverting Gradients"]
        assert found.measured is None
        assert found.why == f"not tried on {many}: it is made for up to 16 records and 16 steps"


def test_rows_of_numbers_are_read_by_closed_forms_only() -> None:
    found = everything(look("server", "data.most=1", "training.batch=1"))
    assert found["analytic leakage of the first layer"].measured == pytest.approx(120, abs=15)
    assert found["analytic leakage of the first layer"].pictures is None
    assert found["Inverting Gradients"].why == "made for flat images only"


def test_local_noise_leaves_less_than_guessing() -> None:
    found = everything(look("server", *FEW, *DP))["analytic leakage of the first layer"]
    assert found.measured is not None
    assert found.guessing is not None
    assert found.measured < found.guessing + 1


def test_who_sees_nothing_move_reconstructs_and_counts_nothing() -> None:
    found = everything(look("outsider-weights"))
    assert {name: one.measured for name, one in found.items()} == {
        "reconstruction": None,
        "labels": None,
        "source": None,
    }


# --- property and source


def test_an_update_tells_a_property_and_whose_a_record_is() -> None:
    found = everything(look("server", "training.lr=0.3", "training.epochs=3"))
    assert found["property"].measured is not None
    assert found["property"].measured >= 0.9
    assert found["property"].guessing == 0.5
    assert found["source"].measured is not None
    assert found["source"].guessing == 0.25
    assert found["source"].measured > 0.25
    assert "whose of 4 clients" in found["source"].why


def test_a_sum_says_whose_nothing_is() -> None:
    found = everything(look("server", "channel.kind=masked"))
    assert found["source"].measured is None
    assert found["property"].measured is not None
    assert "told from a sum of 4 updates" in found["property"].why


def test_one_client_seen_by_itself_is_no_choice() -> None:
    found = everything(look("clients", "rounds=1", colluders=3))["source"]
    assert found.measured is None
    assert found.why == "needs the updates of two clients or more in a round, each by itself"


def test_sources_are_compared_within_rounds() -> None:
    """Cohorts of two of four clients: whoever is asked about was seen in the same rounds."""
    found = look("server", "cohort.size=2", "data.most=30")
    shown = by_name(list(attributes(found)))["source"]
    rounds: dict[int, set[int]] = {}
    for client, known in found.knowledge.items():
        for sight in known.moves:
            rounds.setdefault(sight.round, set()).add(client)
    assert {len(clients) for clients in rounds.values()} == {2}
    assert shown.guessing == 0.5
    assert shown.why.startswith("whose of 2 clients a training record is, 40 records asked, by ")


@pytest.mark.parametrize(
    ("channel", "weights"), [("plain", "equal"), ("masked", "equal"), ("masked", "reported")]
)
def test_property_trials_see_what_the_adversary_would(
    monkeypatch: pytest.MonkeyPatch, channel: str, weights: str
) -> None:
    """Training in place of which an update says its share of the rarer class, far off where others stand beside it."""
    subject = look("server", *sums(channel, weights))
    rare = int(torch.bincount(subject.known.labels, minlength=10).argmin())
    rows: dict[str, set[tuple[float, ...]]] = {}
    draws = torch.Generator().manual_seed(0)

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        kind, _, _ = name.partition(" ")
        rows.setdefault(kind, set()).update(tuple(row.tolist()) for row in examples.features)
        share = float((examples.labels == rare).double().mean())
        noise = 0.01 * torch.randn(len(model), generator=draws)
        return noise + (7.0 if kind in ("beside", "usual") else share)

    monkeypatch.setattr("securefl.audit.exposure.properties._trained", trained)
    found = by_name(list(attributes(subject)))["property"]
    assert found.measured == 1.0
    assert f"are of class {rare}" in found.why
    assert (
        "of 157 records" not in found.why
    )  # half of the target's records at the most, as far as the class goes
    sites = [{tuple(row.tolist()) for row in site.train.features} for site in subject.data.sites]
    known = {tuple(row.tolist()) for row in subject.known.features}
    assert rows["shadow"] <= known
    assert rows["trial"] <= sites[0]
    if channel == "masked":
        assert rows["beside"] == sites[1] | sites[2] | sites[3]
        assert rows["usual"] <= known


def test_a_trial_that_says_nothing_is_right_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = look("server")

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        draws = torch.Generator().manual_seed(len(name) + int(name.split(" ")[1]))
        return torch.randn(len(model), generator=draws) + (
            100.0 if name.startswith("trial") else 0.0
        )

    monkeypatch.setattr("securefl.audit.exposure.properties._trained", trained)
    found = by_name(list(attributes(subject)))["property"]
    assert found.measured == pytest.approx(0.5, abs=0.35)
    assert found.guessing == 0.5


def test_training_that_diverges_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "securefl.audit.exposure.properties._trained", lambda look, model, *rest: model * torch.nan
    )
    found = by_name(list(attributes(look("server", "rounds=1"))))["property"]
    assert found.measured is None
    assert found.why == "the attacker's own training diverges"


def test_trials_under_dp_have_as_many_records_as_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = ("privacy.records=[300, 300, 300, 300]", "privacy.epsilon=8.0")
    subject = look("server", *DP[:2], *records, "rounds=1")
    sizes, draws = set[int](), torch.Generator().manual_seed(0)

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        sizes.add(len(examples))
        return torch.randn(len(model), generator=draws)

    monkeypatch.setattr("securefl.audit.exposure.properties._trained", trained)
    list(attributes(subject))
    assert sizes == {300}


def test_few_records_allow_no_trials() -> None:
    found = everything(look("server", *ONE_STEP))["property"]
    assert found.measured is None
    assert found.why.startswith("too few records")


# --- a malicious server


def test_an_imprint_reads_records_out_of_one_update_and_out_of_a_sum() -> None:
    for channel in ("plain", "masked"):
        found = implanted(
            look("malicious-server", f"channel.kind={channel}", *ONE_STEP),
            on_round=lambda label, record: None,
        )
        assert found.measured is not None
        assert found.guessing is not None
        assert found.measured > 40 > found.guessing
        assert "clients that fixed the model beforehand refuse it" in found.why


def test_an_imprint_works_over_several_steps_and_for_a_client_that_comes_late() -> None:
    late = ("cohort.size=1", "data.most=8", "training.batch=2", "training.lr=0.1")
    for target in range(4):
        found = implanted(
            look("malicious-server", *late, target=target), on_round=lambda label, record: None
        )
        if found.measured is not None:
            assert found.measured > 25
    rounds = []
    subject = look("malicious-server", *ONE_STEP)
    implanted(subject, on_round=lambda label, record: rounds.append(record.round))
    assert rounds == [0]


def test_noise_stops_the_imprint_and_under_ckks_there_is_no_place_for_it() -> None:
    noisy = implanted(look("malicious-server", *FEW, *DP), on_round=lambda label, record: None)
    assert noisy.measured is not None
    assert noisy.guessing is not None
    assert noisy.measured < noisy.guessing + 1
    keyed = implanted(
        look("malicious-server", "channel.kind=ckks", *ONE_STEP),
        on_round=lambda label, record: None,
    )
    assert keyed.measured is None
    assert keyed.why == "the clients hold the model, the server gives them none"


def test_only_who_may_deviate_puts_an_imprint_before_the_model() -> None:
    for who, has in (("server", False), ("malicious-server", True)):
        inquiry = Inquiry(parse_scenario(DIGITS, overrides=ONE_STEP), who)
        found = by_name(exposed(inquiry, lambda text: None, lambda label, record: None, fresh))
        assert ("imprint before the model" in found) is has


# --- what is told and written


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digits.toml").write_text(DIGITS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(who: str, *overrides: str, exposure: bool = True, pictures: bool = False) -> Asked:
    return Asked(Path("digits.toml"), overrides, who, 1, 0, 0, 0, 1, None, exposure, pictures)


def found_by(question: Asked) -> Findings:
    return audit(question, say=lambda text: None, on_round=lambda label, record: None)


def test_an_audit_tells_what_updates_show_unless_it_is_not_asked(place: Path) -> None:
    found = found_by(asked("server", *ONE_STEP, "rounds=1"))
    written = json.loads(next(found.folder.glob("audit-*.json")).read_text())
    assert [one["attack"] for one in written["exposures"]] == [
        one.attack for one in found.exposures
    ]
    assert {"attack", "unit", "measured", "guessing", "why", "told", "error", "finding"} == set(
        written["exposures"][0]
    )
    assert any(one["measured"] for one in written["exposures"])
    none = found_by(asked("server", *ONE_STEP, "rounds=1", exposure=False))
    assert none.exposures == ()
    assert asked("server", exposure=False).command.endswith("--seed=0 --no-exposure")
    assert asked("server", pictures=True).command.endswith("--seed=0 --pictures")


@pytest.mark.parametrize(("who", "channel"), [("server", "ckks"), ("outsider", "plain")])
def test_who_sees_no_update_is_told_so(place: Path, who: str, channel: str) -> None:
    found = found_by(asked(who, f"channel.kind={channel}", "rounds=1", pictures=True))
    assert [one.why for one in found.exposures] == [
        "this adversary sees no update, no sum and no step"
    ]
    assert "no pictures: no image was reconstructed" in found.notes
    assert found.pictures is None


def test_a_figure_of_another_audit_does_not_stay(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = list(reconstructions(look_at_images(1, batch=1)))
    with monkeypatch.context() as patched:
        patched.setattr("securefl.audit.audit.exposed", lambda *given: shown)
        found = found_by(replace(asked("server", "rounds=1", pictures=True), folder=place / "kept"))
    assert found.pictures is not None
    assert f"TRAINING RECORDS are shown in {found.pictures}" in lines_of(found)
    later = found_by(replace(asked("server", "rounds=1", exposure=False), folder=place / "kept"))
    assert later.pictures is None
    assert not found.pictures.exists()
    assert not any("TRAINING RECORDS" in line for line in lines_of(later))


def test_pictures_never_go_into_a_run_folder(place: Path) -> None:
    api.run(parse_scenario(DIGITS, overrides=("rounds=1",)), place / "run")
    before = sorted(place.rglob("*"))
    with pytest.raises(
        ScenarioError, match="run is the folder of a run, which holds no audits; choose another"
    ):
        found_by(replace(asked("server", "rounds=1", pictures=True), folder=place / "run"))
    (place / "file").write_text("")
    with pytest.raises(ScenarioError, match=r"--out: .*file is a file"):
        found_by(replace(asked("server", "rounds=1"), folder=place / "file"))
    with pytest.raises(ScenarioError, match="--pictures shows what --no-exposure leaves out"):
        found_by(asked("server", "rounds=1", exposure=False, pictures=True))
    assert sorted(place.rglob("*")) == sorted([*before, place / "file"])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"command": "x", "claim": "y", "verdict": "z", "notes": [], "lines": [], "exposures": [{}]}',
        '{"command": "x", "claim": "y", "verdict": "z", "notes": [], "lines": 5, "exposures": []}',
        '{"command": "x", "claim": 3, "verdict": "z", "notes": [], "lines": [], "exposures": []}',
        '{"command": "x", "claim": "y", "verdict": "z", "notes": [], "lines": [], '
        '"exposures": [{"attack": "a", "why": "b", "told": ["c"]}]}',
    ],
)
def test_a_damaged_audit_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "audit-server.json").write_text(text)
    with pytest.raises(
        RunFolderError, match=r"audit-server\.json is damaged: it is not what an audit writes"
    ):
        write_report(tmp_path)


def test_trials_of_a_continued_run_have_its_noise(place: Path) -> None:
    """What was spent before leaves less, so that the clients' noise is larger than the scenario alone would say."""
    records = ("privacy.records=[40, 40, 40, 40]", "data.share=0.127", "rounds=2")
    api.run(
        parse_scenario(DIGITS, overrides=(*DP[:2], *records, "privacy.epsilon=2.0")), place / "run"
    )
    later = f"init_from={str(place / 'run')!r}"
    fresh_one = look("server", *DP[:2], *records, "privacy.epsilon=8.0")
    continued = look("server", *DP[:2], *records, "privacy.epsilon=8.0", later)
    assert continued.local.plans[0].noise_multiplier > fresh_one.local.plans[0].noise_multiplier


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_are_kept_where_they_are_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, pictures: bool
) -> None:
    shown = list(reconstructions(look_at_images(1, batch=1)))
    monkeypatch.setattr("securefl.audit.audit.exposed", lambda *given: shown)
    found = found_by(asked("server", *ONE_STEP, "rounds=1", pictures=pictures))
    kept = list(found.folder.glob("*-pictures.svg"))
    assert bool(kept) is pictures
    page = write_report(found.folder).read_text()
    assert ("TRAINING RECORDS" in page) is pictures
    assert page.count("data:image/svg+xml;base64,") == pictures
    assert "Inverting Gradients" in page
    assert "no evidence for an epsilon" in page


def test_the_table_says_what_was_not_measured() -> None:
    lines = told_exposures(
        [
            Exposure("labels", "of four records", "share", 0.75, 0.5, error=0.25),
            Exposure("images", "of two", "dB", 31.26, 18.44),
            Exposure("source", "needs two clients"),
        ]
    )
    assert lines == [
        "what updates show  measured      by guessing  finding",
        "labels             75%           50%          no",
        "images             31.3 dB       18.4 dB      yes",
        "source             not measured",
        "labels: of four records",
        "images: of two",
        "source: needs two clients",
        "what an attack does not find here is no evidence for an epsilon: another attack may find it",
    ]


@pytest.mark.parametrize(
    ("exposure", "finding"),
    [
        (Exposure("a", "", "share", 0.75, 0.5, error=0.1), True),
        (Exposure("a", "", "share", 0.75, 0.5, error=0.125), False),  # two standard errors, no more
        (Exposure("a", "", "share", 0.25, 0.5, error=0.01), False),
        (Exposure("a", "", "dB", 22.9, 20.0, error=0.1), False),
        (Exposure("a", "", "dB", 23.1, 20.0, error=0.1), True),
        (Exposure("a", "", "dB", 23.1, 20.0, error=1.6), False),
        (Exposure("a", "", "dB", 35.1, 18.2), True),  # a single record
        (Exposure("a", "nothing is seen"), False),
    ],
)
def test_better_than_guessing_beyond_its_error_is_a_finding(
    exposure: Exposure, finding: bool
) -> None:
    assert exposure.is_finding is finding


IMAGE = Exposure("Inverting Gradients", "of one", "dB", 35.1, 18.2)
NOTHING = Exposure("source", "of ten", "share", 0.11, 0.1, error=0.05)
MEMBERS = Line("LiRA", Stand.UNCLAIMED, "measured", auc=0.6, auc_error=0.01)
CHANCE = Line("LiRA", Stand.UNTOLD, "no violation", auc=0.51, auc_error=0.01)
BROKEN = Line("canaries", Stand.VIOLATED, "too many right")
RIGHT = tuple(Line(name, Stand.HOLDS, "as booked") for name in MECHANISM)


@pytest.mark.parametrize(
    ("lines", "exposures", "first", "verdict"),
    [
        (
            (BROKEN,),
            (NOTHING,),
            "nothing beyond guessing by these attacks",
            "violated: a true claim would give this",
        ),
        (
            (CHANCE, *RIGHT),
            (IMAGE,),
            "Inverting Gradients: 35.1 dB, by guessing 18.2 dB",
            "holds: noise, clipping",
        ),
        (
            (MEMBERS,),
            (IMAGE,),
            "Inverting Gradients: 35.1 dB, by guessing 18.2 dB",
            "no claim: nothing was promised",
        ),
        (
            (MEMBERS,),
            (),
            "membership by LiRA: AUC 0.600 ± 0.010, by guessing .5",
            "no claim: nothing was promised",
        ),
        (
            (),
            (NOTHING,),
            "nothing beyond guessing by these attacks",
            "no claim: nothing was promised",
        ),
    ],
)
def test_an_audit_says_first_what_was_found_and_last_how_the_claim_stands(
    lines: tuple[Line, ...],
    exposures: tuple[Exposure, ...],
    first: str,
    verdict: str,
    tmp_path: Path,
) -> None:
    found = Findings("a claim", lines, exposures, ("a note",), tmp_path)
    printed = lines_of(found)
    assert printed[0] == f"finding: {first}"
    assert printed[-1].startswith(f"verdict: {verdict}")
    write(found, asked("server"))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert f"<strong>{html.escape(first)}</strong>" in page
    assert all(f'<th scope="col">{html.escape(column)}</th>' in page for column in HEAD)


def test_the_page_has_the_columns_of_the_console() -> None:
    assert COLUMNS == HEAD


def test_the_error_of_a_median_is_that_of_normal_gains() -> None:
    gains = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert _error_of_median(gains) == pytest.approx((4 / 3) ** 0.5 * (torch.pi / 8) ** 0.5)
    assert _error_of_median(gains[:1]) is None
