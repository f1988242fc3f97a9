"""Property inference: trials are the target's, shadows the attacker's, and noise hides both."""

import pytest
import torch
from torch import Tensor

from securefl.audit.exposure.exposures import attributes
from securefl.audit.exposure.look import Look
from securefl.data.task import Examples
from tests.audit.exposure.subjects import DP, ONE_STEP, by_name, everything, look, sums

TRAINED = "securefl.audit.exposure.properties._trained"


def test_an_update_reveals_a_property_and_the_source_of_a_record() -> None:
    exposures = everything(look("server", "training.lr=0.3", "training.epochs=3"))
    assert exposures["property"].measured is not None
    assert exposures["property"].measured >= 0.9
    assert exposures["property"].guessing == 0.5
    assert exposures["source"].measured is not None
    assert exposures["source"].guessing == 0.25
    assert exposures["source"].measured > 0.25
    assert "whose of 4 clients" in exposures["source"].why


def test_a_sum_reveals_no_source() -> None:
    exposures = everything(look("server", "channel.kind=masked"))
    assert exposures["source"].measured is None
    assert exposures["property"].measured is not None
    assert "by a sum of 4 updates" in exposures["property"].why


@pytest.mark.parametrize(
    ("channel", "weights"), [("plain", "equal"), ("masked", "equal"), ("masked", "reported")]
)
def test_property_trials_see_what_the_adversary_would(
    monkeypatch: pytest.MonkeyPatch, channel: str, weights: str
) -> None:
    """Training is replaced: an update says its share of the rare class, other clients' say 7."""
    subject = look("server", *sums(channel, weights))
    rare = int(torch.bincount(subject.own_records.labels, minlength=10).argmin())
    rows: dict[str, set[tuple[float, ...]]] = {}
    draws = torch.Generator().manual_seed(0)

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        kind, _, _ = name.partition(" ")
        rows.setdefault(kind, set()).update(tuple(row.tolist()) for row in examples.features)
        share = float((examples.labels == rare).double().mean())
        noise = 0.01 * torch.randn(len(model), generator=draws)
        return noise + (7.0 if kind in ("beside", "usual") else share)

    monkeypatch.setattr(TRAINED, trained)
    exposure = by_name(list(attributes(subject)))["property"]
    assert exposure.measured == 1.0
    assert f"are of class {rare}" in exposure.why
    # Half of the target's records would be 157; there are fewer of the rare class.
    assert "of 157 records" not in exposure.why
    sites = [{tuple(row.tolist()) for row in site.train.features} for site in subject.data.sites]
    known = {tuple(row.tolist()) for row in subject.own_records.features}
    assert rows["shadow"] <= known
    assert rows["trial"] <= sites[0]
    if channel == "masked":
        assert rows["beside"] == sites[1] | sites[2] | sites[3]
        assert rows["usual"] <= known


def test_trials_that_say_nothing_are_right_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = look("server")

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        draws = torch.Generator().manual_seed(len(name) + int(name.split(" ")[1]))
        shift = 100.0 if name.startswith("trial") else 0.0
        return torch.randn(len(model), generator=draws) + shift

    monkeypatch.setattr(TRAINED, trained)
    exposure = by_name(list(attributes(subject)))["property"]
    assert exposure.measured == pytest.approx(0.5, abs=0.35)
    assert exposure.guessing == 0.5


def test_training_that_diverges_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRAINED, lambda look, model, *rest: model * torch.nan)
    exposure = by_name(list(attributes(look("server", "rounds=1"))))["property"]
    assert exposure.measured is None
    assert exposure.why == "the attacker's own training diverges"


def test_trials_under_dp_have_as_many_records_as_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = ("privacy.records=[300, 300, 300, 300]", "privacy.epsilon=8.0")
    subject = look("server", *DP[:2], *records, "rounds=1")
    sizes = set[int]()
    draws = torch.Generator().manual_seed(0)

    def trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
        sizes.add(len(examples))
        return torch.randn(len(model), generator=draws)

    monkeypatch.setattr(TRAINED, trained)
    list(attributes(subject))
    assert sizes == {300}


def test_few_records_allow_no_trials() -> None:
    exposure = everything(look("server", *ONE_STEP))["property"]
    assert exposure.measured is None
    assert exposure.why.startswith("too few records")
