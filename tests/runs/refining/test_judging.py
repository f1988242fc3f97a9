"""The judge: both versions on the same records, and a noisy gate that pays for its answer."""

import statistics

import pytest
import torch

from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import ScenarioError
from securefl.privacy.events import SampledGaussian
from securefl.runs.refining import judging
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.judging import gate_cost, judge
from securefl.runs.refining.plan import Asked
from securefl.runs.refining.quality import judged, right_answers
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import Scenario, parse_scenario

CLAIM = 'data = { name = "heart" }\nprivacy = { epsilon = 3.0, noise = "seeded" }\nseed = %d\n'


def scenario(seed: int = 0) -> Scenario:
    return parse_scenario(CLAIM % seed)


def models(made: Scenario) -> tuple[torch.Tensor, torch.Tensor]:
    """Two models of heart: one answers "ill" for everybody, the other "well"."""
    ill = torch.zeros(16)
    ill[-1] = 1.0
    return ill, -ill


def test_right_answers_are_counted_at_each_site() -> None:
    made = scenario()
    data = load_data(made)
    ill, well = models(made)
    tests = [site.test for site in data.sites if site.test is not None]
    positives = [int((test.labels == 1).sum()) for test in tests]
    assert right_answers(made, ill, data) == positives
    assert right_answers(made, well, data) == [
        len(test) - n for test, n in zip(tests, positives, strict=True)
    ]
    broken = torch.full((16,), torch.nan)
    assert right_answers(made, broken, data) == [0, 0, 0, 0]


def test_figures_are_of_all_records_and_of_each_site() -> None:
    made = scenario()
    data = load_data(made)
    ill, _ = models(made)
    figures = judged(made, ill, data)
    assert figures.overall["accuracy"] == float((data.test.labels == 1).double().mean())
    assert set(figures.sites) == {site.name for site in data.sites}
    assert "mae" not in figures.overall


@pytest.mark.parametrize("relative", [True, False])
def test_the_noisy_number_has_the_right_mean_and_the_noise_that_was_paid_for(
    relative: bool,
) -> None:
    # 300 draws: the mean is within 4 standard errors but with probability 6e-5, and the standard
    # deviation within 20 % but with 1e-6 (chi-square). Noise of one site for four is off by 2.
    noise, records = 5.0, 250
    text = "accuracy >= previous - 0.1" if relative else "accuracy >= 0.5"
    asked = Asked({}, (), parse_gate(text), noise=noise, records=records)
    made = scenario()
    data = load_data(made)
    new, old = models(made)
    right, before = sum(right_answers(made, new, data)), sum(right_answers(made, old, data))
    expected = right - before if relative else right
    key = "noisy_difference" if relative else "noisy_value"
    values = []
    gate = parse_gate(text)
    for seed in range(300):
        total = judging._noisy_total(scenario(seed), gate, (new, old), data, noise, version=2)
        values.append(total)
    deviation = noise * 4**0.5
    assert statistics.fmean(values) == pytest.approx(expected, abs=4 * deviation / 300**0.5)
    assert statistics.stdev(values) == pytest.approx(deviation, rel=0.2)
    # The judgement is that number over the declared records, and nothing else.
    verdict = judge(made, asked, new, old, version=2)
    share = judging._noisy_total(made, gate, (new, old), data, noise, version=2) / records
    assert verdict.compared == {key: share, "records": records}
    assert verdict.passed is (share >= (-0.1 if relative else 0.5))
    assert verdict.figures == {"records": "test"}


def test_noise_differs_from_version_to_version_and_from_site_to_site() -> None:
    made, gate = scenario(), parse_gate("accuracy >= 0.5")
    data = load_data(made)
    new, old = models(made)
    totals = {
        version: judging._noisy_total(made, gate, (new, old), data, 5.0, version)
        for version in (2, 3)
    }
    assert totals[2] != totals[3]


def test_system_noise_does_not_repeat() -> None:
    made = parse_scenario('data = { name = "heart" }\nprivacy = { epsilon = 3.0 }')
    asked = Asked({}, (), parse_gate("accuracy >= 0.5"), noise=5.0, records=250)
    new, old = models(made)
    first, second = (judge(made, asked, new, old, version=2).compared for _ in range(2))
    assert first["noisy_value"] != second["noisy_value"]


def test_a_noisy_gate_costs_one_release_of_sensitivity_one() -> None:
    gate = parse_gate("accuracy >= 0.5")
    assert gate_cost(Asked({}, (), gate, noise=5.0, records=9)) == SampledGaussian(1.0, 5.0, 1)
    assert gate_cost(Asked({}, (), gate)) is None


def test_one_record_changes_the_noisy_number_by_one_at_most() -> None:
    made = scenario()
    data = load_data(made)
    new, old = models(made)
    site = data.sites[0]
    assert site.test is not None
    for index in range(10):
        left = [i for i in range(len(site.test)) if i != index]
        fewer = Site(
            site.name, site.train, Examples(site.test.features[left], site.test.labels[left])
        )
        without = FederatedData(data.task, (fewer, *data.sites[1:]), data.test)
        whole = [a - b for a, b in zip(*(right_answers(made, w, data) for w in (new, old)))]  # noqa: B905
        less = [a - b for a, b in zip(*(right_answers(made, w, without) for w in (new, old)))]  # noqa: B905
        assert abs(whole[0] - less[0]) == 1
        assert whole[1:] == less[1:]


def test_sites_without_records_of_their_own_cannot_have_a_noisy_gate() -> None:
    made = parse_scenario('data = { name = "heart", partition = "iid", clients = 3 }')
    with pytest.raises(ScenarioError, match="these sites have no test records of their own"):
        right_answers(made, torch.zeros(16), load_data(made))


def test_real_targets_have_no_right_answers() -> None:
    made = scenario()
    records = Examples(torch.zeros(2, 15), torch.zeros(2, 1))
    data = FederatedData(
        Task(features=15, targets=((0.0, 1.0),)), (Site("a", records, records),), records
    )
    with pytest.raises(ScenarioError, match="real targets or several labels"):
        right_answers(made, torch.zeros(16), data)
