"""Reconstruction: images come out of small updates, and out of noise or shuffled ones none do."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attacks.reconstruction.pictures import psnr, ssim
from securefl.audit.exposure.exposures import exposures
from securefl.audit.exposure.look import Look
from securefl.audit.exposure.reconstruction import _error_of_median, implanted, reconstructions
from securefl.audit.exposure.result import Exposure
from securefl.audit.knowledge import Knowledge, Sight
from securefl.data.task import Examples
from securefl.federation.record import RoundRecord
from securefl.learning.models.linear import mlp
from securefl.learning.models.scattering.head import scattering
from securefl.privacy.remember import fresh
from securefl.vector import to_vector
from tests.audit.exposure.subjects import (
    DP,
    FEW_RECORDS,
    IMAGES,
    ONE_STEP,
    by_name,
    everything,
    ignore_round,
    look,
    look_at_images,
    scores,
)

ANALYTIC = "analytic leakage of the first layer"
INVERTING = "Inverting Gradients"


def reconstructed(subject: Look) -> dict[str, Exposure]:
    return by_name(list(reconstructions(subject)))


def with_sight(subject: Look, sight: Sight) -> Look:
    return replace(subject, knowledge={0: Knowledge((sight,), None, None)})


def test_one_image_is_found_and_in_shuffled_updates_none() -> None:
    exposures = reconstructed(look_at_images(1, batch=1))
    assert list(exposures) == [ANALYTIC, INVERTING]
    for exposure in exposures.values():
        measured, guessing = scores(exposure)
        assert measured > 25 > guessing
        assert exposure.why.startswith(
            "PSNR, median over 1 record of the target; 1 of them at 25 dB or more"
        )
    assert exposures[ANALYTIC].measured == pytest.approx(120, abs=10)
    for exposure in reconstructions(look_at_images(1, batch=1, shuffled=True)):
        measured, guessing = scores(exposure)
        assert measured < guessing + 1


class Backwards(nn.Module):
    """Declares its layers from the last to the first, as a stranger's model may."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 1)
        self.first = nn.Linear(256, 32)

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs (n, 1)."""
        outputs: Tensor = self.head(self.first(x.flatten(1)).tanh())
        return outputs


def test_an_image_is_found_in_a_model_that_declares_its_layers_backwards() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Backwards()
    exposures = reconstructed(look_at_images(1, batch=1, model=model))
    assert exposures[ANALYTIC].measured == pytest.approx(120, abs=10)
    measured, guessing = scores(exposures[INVERTING])
    assert measured > guessing + 1


def test_the_fixed_features_of_one_image_are_found_without_its_pixels() -> None:
    model = scattering(IMAGES, pooling=3, generator=torch.Generator())
    features = next(reconstructions(look_at_images(1, batch=1, model=model)))
    assert features.attack == "analytic leakage of fixed features"
    measured, guessing = scores(features)
    assert measured > 60 > guessing
    assert features.pictures is None
    shuffled = next(reconstructions(look_at_images(1, batch=1, model=model, shuffled=True)))
    measured, guessing = scores(shuffled)
    assert measured < guessing + 3


def test_a_model_without_a_linear_output_is_not_inverted_by_labels() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 1), nn.Tanh())
    subject = look_at_images(1, batch=1, model=model)
    why = "no linear layer that trains gives the model's outputs"
    assert reconstructed(subject)[INVERTING].why == f"not tried: {why} to count labels by"
    assert everything(subject)["labels"].why == why


def test_pictures_are_the_records_and_the_nearest_reconstructions() -> None:
    subject = look_at_images(2, batch=2)
    exposure = reconstructed(subject)[INVERTING]
    pictures = exposure.pictures
    assert pictures is not None
    assert torch.equal(pictures.truth, IMAGES.inputs(subject.data.sites[0].train.features))
    assert pictures.found.shape == (2, 1, 16, 16)
    assert float(pictures.found.abs().max()) <= 1
    known = IMAGES.inputs(subject.own_records.features)
    bounds = float(known.min()), float(known.max())
    alike = ssim(pictures.found, pictures.truth, bounds=bounds)
    assert f"SSIM {float(alike.mean()):.2f}" in exposure.why
    each = psnr(pictures.found, pictures.truth, bounds=(-1, 1))
    # The median of two is their mean.
    assert exposure.measured == pytest.approx(float(each.mean()), abs=0.5)
    assert float(each.max() - each.min()) > 1


def test_guessing_offers_as_many_records_as_the_attack() -> None:
    """With many rows to offer, one comes near some record by luck."""
    subject = look_at_images(1, batch=1)
    guesses = {}
    for rows in (1, 32):
        own_records = Examples(subject.own_records.features[:40], subject.own_records.labels[:40])
        model = mlp(IMAGES, hidden=(rows,), generator=torch.Generator())
        weights = to_vector(model)
        sight = Sight(0, weights, torch.ones(len(weights)), True, {0: 1.0})
        few = with_sight(replace(subject, own_records=own_records, model=model), sight)
        _, guesses[rows] = scores(reconstructed(few)[ANALYTIC])
    assert guesses[32] > guesses[1]
    truth = IMAGES.inputs(subject.data.sites[0].train.features)
    own = IMAGES.inputs(subject.own_records.features[:32])
    bounds = float(own.min()), float(own.max())
    assert guesses[32] >= float(psnr(own, truth.expand_as(own), bounds=bounds).max()) - 0.1


def test_steps_of_single_records_are_played_again() -> None:
    exposure = reconstructed(look_at_images(1, batch=1, epochs=8, lr=1.0))[INVERTING]
    assert exposure.measured is not None
    assert exposure.measured > 35  # 28 dB by steps of another length


def test_a_sum_of_single_steps_is_a_batch_and_of_several_is_not_tried() -> None:
    of_sum = reconstructed(look_at_images(1, batch=1, clients=3))[INVERTING]
    assert "median over 3 records of 3 clients together" in of_sum.why
    measured, guessing = scores(of_sum)
    assert measured > guessing + 2
    several = reconstructed(look_at_images(2, batch=1, clients=3))[INVERTING]
    assert several.measured is None
    assert several.why == "not tried on a sum of 3 updates that is not the gradient of a batch"
    uneven = look_at_images(1, batch=1, clients=3)
    sight = replace(uneven.knowledge[0].sights[0], counts={0: 1.0, 1: 1.0, 2: 1.1})
    assert reconstructed(with_sight(uneven, sight))[INVERTING].why == several.why


def test_many_records_are_not_tried() -> None:
    for subject, many in (
        (look_at_images(17, batch=17), "17 records in 1 local step"),
        (look_at_images(1, batch=1, epochs=17), "1 record in 17 local steps"),
    ):
        exposure = reconstructed(subject)[INVERTING]
        assert exposure.measured is None
        assert exposure.why == f"not tried on {many}: it is made for up to 16 records and 16 steps"


def test_rows_of_numbers_are_read_by_closed_forms_only() -> None:
    exposures = everything(look("server", "data.most=1", "training.batch=1"))
    assert exposures[ANALYTIC].measured == pytest.approx(120, abs=15)
    assert exposures[ANALYTIC].pictures is None
    assert exposures[INVERTING].why == "made for flat images only"


def test_local_noise_leaves_less_than_guessing() -> None:
    measured, guessing = scores(everything(look("server", *FEW_RECORDS, *DP))[ANALYTIC])
    assert measured < guessing + 1


def test_an_adversary_that_sees_nothing_move_reconstructs_and_counts_nothing() -> None:
    exposures = everything(look("outsider-weights"))
    assert {name: exposure.measured for name, exposure in exposures.items()} == {
        "reconstruction": None,
        "labels": None,
        "source": None,
    }


def test_an_imprint_reads_records_out_of_one_update_and_out_of_a_sum() -> None:
    for channel in ("plain", "masked"):
        subject = look("malicious-server", f"channel.kind={channel}", *ONE_STEP)
        exposure = implanted(subject, on_round=ignore_round)
        measured, guessing = scores(exposure)
        assert measured > 40 > guessing
        assert "clients that fixed the model beforehand refuse it" in exposure.why


def test_an_imprint_works_over_several_steps_and_for_a_client_that_comes_late() -> None:
    late = ("cohort.size=1", "data.most=8", "training.batch=2", "training.lr=0.1")
    for target in range(4):
        subject = look("malicious-server", *late, target=target)
        exposure = implanted(subject, on_round=ignore_round)
        if exposure.measured is not None:
            assert exposure.measured > 25


def test_an_imprint_is_played_up_to_the_targets_first_round() -> None:
    rounds: list[int] = []

    def note(label: str, record: RoundRecord) -> None:
        rounds.append(record.round)

    implanted(look("malicious-server", *ONE_STEP), on_round=note)
    assert rounds == [0]


def test_noise_stops_the_imprint_and_under_ckks_there_is_no_place_for_it() -> None:
    noisy = implanted(look("malicious-server", *FEW_RECORDS, *DP), on_round=ignore_round)
    measured, guessing = scores(noisy)
    assert measured < guessing + 1
    subject = look("malicious-server", "channel.kind=ckks", *ONE_STEP)
    encrypted = implanted(subject, on_round=ignore_round)
    assert encrypted.measured is None
    assert encrypted.why == "the clients hold the model, the server gives them none"


@pytest.mark.parametrize(("who", "deviates"), [("server", False), ("malicious-server", True)])
def test_only_a_party_that_may_deviate_puts_an_imprint_before_the_model(
    who: str, deviates: bool
) -> None:
    results = exposures(
        look(who, *ONE_STEP), say=lambda text: None, on_round=ignore_round, remember=fresh
    )
    assert ("imprint before the model" in by_name(results)) is deviates


def test_the_error_of_a_median_is_that_of_normal_gains() -> None:
    gains = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert _error_of_median(gains) == pytest.approx((4 / 3) ** 0.5 * (torch.pi / 8) ** 0.5)
    assert _error_of_median(gains[:1]) is None
