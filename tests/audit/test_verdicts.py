"""Bounds and verdicts: right code is not accused, and planted faults are."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks import (
    clopper_pearson_epsilon,
    correct_guesses,
    errors_at,
    gaussian_mu,
    one_run,
    one_run_mu,
)
from securefl.audit.bounds import (
    LINE_CONFIDENCE,
    Claim,
    bounds,
    canary_scores,
    epsilon_of,
    one_run_epsilon,
    one_run_refutation,
    refutation,
    sees_all,
)
from securefl.audit.canaries import Canaries
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.lines import Line, Verdict, table_lines
from securefl.audit.repertoire import MECHANISM
from securefl.audit.verdicts import (
    Scored,
    canary_line,
    membership_line,
    overall,
    worst,
)
from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.events import SampledGaussian
from securefl.rng import Keystream, seeded_keystream

DELTA = 1e-5
MU = 1.0


def gaussian_claim(mu: float) -> Claim:
    """The claim of one Gaussian release with sensitivity over noise of mu."""
    spent = {SampledGaussian(1.0, 1 / mu, 1): 1}
    return Claim(spent, exact_epsilon(mu, DELTA), DELTA, privacy_profile(spent, delta=DELTA))


CLAIM = gaussian_claim(MU)


def stream(seed: int = 1) -> Keystream:
    return seeded_keystream(seed, "thresholds")


def scored(mu: float, seed: int, m: int = 4000) -> tuple[Tensor, Tensor]:
    """Scores of canaries that a Gaussian release moves by mu, and the canaries that were in."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.rand(m, generator=generator) < 0.5
    return torch.randn(m, generator=generator, dtype=torch.float64) + mu * inside, inside


# --- the profile the other way round


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.7, 0.99, 1.0])
def test_least_false_positives_undo_the_most_true_ones(rate: float) -> None:
    profile = CLAIM.profile
    most = profile.most_true_positives(rate)
    assert profile.least_false_positives(most) <= rate + 1e-9
    if 0 < most < 1:
        assert profile.least_false_positives(most) == pytest.approx(rate, abs=1e-6)


def test_a_gaussians_profile_is_its_trade_off_from_above() -> None:
    for rate in (0.05, 0.3, 0.8):
        exact = float(norm.cdf(norm.ppf(rate) - MU))
        found = CLAIM.profile.least_false_positives(rate)
        assert exact * 0.98 - 1e-6 <= found <= exact + 1e-9


def test_rates_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 1.5"):
        CLAIM.profile.least_false_positives(1.5)


# --- bounds and refutations


def test_bounds_are_ordered_and_below_the_truth_and_come_near_it() -> None:
    found = bounds(*scored(MU, 1, m=10000), stream(), delta=DELTA, confidence=0.95)
    assert 0 < found.steinke < found.f_dp < found.gaussian < CLAIM.epsilon < found.at_most
    assert found.steinke < found.ceiling
    assert found.gaussian > 0.75 * CLAIM.epsilon


def test_the_ceiling_is_what_perfect_guesses_give() -> None:
    inside = torch.arange(1000) % 2 == 0
    found = bounds(inside.double(), inside, stream(), delta=DELTA, confidence=0.95)
    assert found.steinke == pytest.approx(found.ceiling)
    assert math.isinf(found.at_most)


def test_bounds_hold_as_often_as_they_say() -> None:
    """At 90 %, 60 runs: more than 16 failures have a chance of 1e-4 if each fails in a tenth."""
    lower, upper, steinke, pearson = 0, 0, 0, 0
    for seed in range(60):
        found = bounds(*scored(MU, seed, m=1500), stream(seed), delta=DELTA, confidence=0.9)
        lower += found.gaussian > CLAIM.epsilon
        upper += found.at_most < CLAIM.epsilon
        steinke += found.steinke > CLAIM.epsilon
        pearson += found.clopper_pearson > CLAIM.epsilon
    assert max(lower, upper, steinke, pearson) <= 16


def test_a_true_claim_is_hardly_ever_refuted() -> None:
    """At 80 %, so that it can fail: more than 24 of 60 have a chance of 1e-4 at a fifth each."""
    found = [
        refutation(*scored(MU, seed, m=1500), stream(seed), CLAIM, confidence=0.8)
        for seed in range(60)
    ]
    assert sum(one is not None for one in found) <= 24


@pytest.mark.parametrize("seed", range(3))
def test_half_the_noise_is_refuted_and_seven_percent_less_is_not(seed: int) -> None:
    assert refutation(*scored(2 * MU, seed), stream(), CLAIM, confidence=0.999) is not None
    assert refutation(*scored(1.07 * MU, seed), stream(), CLAIM, confidence=0.999) is None


def test_each_test_refutes_by_itself() -> None:
    """Guesses see a shift of 2.2. Only thresholds see one of 1.4: they use independent trials."""
    assert "(f-DP)" in (one_run_refutation(*scored(2.2 * MU, 1), CLAIM, confidence=0.999) or "")
    assert one_run_refutation(*scored(1.4 * MU, 1, m=10000), CLAIM, confidence=0.999) is None
    rates = refutation(*scored(1.4 * MU, 1, m=10000), stream(), CLAIM, confidence=0.999)
    assert rates is not None
    assert "or more are found, the profile allows" in rates


def test_thresholds_are_not_set_on_the_canaries_that_count() -> None:
    """Scores of chance: a threshold tested where it was set would prove an epsilon too often."""
    found = [
        bounds(*scored(0.0, seed, m=600), stream(seed), delta=DELTA, confidence=0.9)
        for seed in range(60)
    ]
    assert sum(one.gaussian > 0 for one in found) <= 16
    assert sum(one.clopper_pearson > 0 for one in found) <= 16


def test_an_epsilon_of_no_shift_is_zero_and_of_any_is_infinite_where_the_shift_is() -> None:
    assert epsilon_of(-1.0, DELTA) == pytest.approx(0.0, abs=1e-6)
    assert math.isinf(epsilon_of(math.inf, DELTA))
    assert epsilon_of(1.0, DELTA) == exact_epsilon(1.0, DELTA)


def test_scores_are_summed_over_rounds_and_taken_from_the_model_where_no_round_is_seen() -> None:
    canaries = Canaries(1000, norm=1.0, stream=seeded_keystream(1, "canaries"))
    steps = [torch.randn(1000, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    sights = tuple(
        Sight(at, None, step if at != 1 else None, alone=True) for at, step in enumerate(steps)
    )
    both = canary_scores(Knowledge(sights, steps[1], steps[1]), canaries)
    assert both is not None
    assert torch.allclose(both, canaries.scores(steps[0] + steps[2]), atol=1e-5)
    final = canary_scores(Knowledge((), steps[1], steps[1]), canaries)
    assert final is not None
    assert torch.equal(final, canaries.scores(steps[1]))
    assert canary_scores(Knowledge((), None, steps[1]), canaries) is None


# --- verdicts


def line_of(mu: float, seed: int = 1) -> Line:
    canaries = Scored("canaries", *scored(mu, seed, m=10000))
    return canary_line(canaries, CLAIM, stream, sight="every update by itself")


def test_canaries_violate_or_cannot_tell() -> None:
    """They never say that a claim holds: other attacks may see more."""
    assert line_of(2 * MU).verdict is Verdict.VIOLATED
    assert line_of(1.07 * MU).verdict is Verdict.UNDECIDED
    assert line_of(0.0).verdict is Verdict.UNDECIDED
    assert line_of(MU).why.startswith("no violation found by every update by itself")


def test_what_the_other_records_did_is_taken_out_where_every_update_is_seen() -> None:
    canaries = Canaries(1000, norm=1.0, stream=seeded_keystream(1, "canaries"))
    moved, other = (
        torch.randn(1000, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
    )
    alone = Knowledge((Sight(0, None, moved, alone=True),), None, None)
    canaries.others.append(other)
    found = canary_scores(alone, canaries)
    assert found is not None
    assert torch.allclose(found, canaries.scores(moved - other), atol=1e-6)
    among = Knowledge((Sight(0, None, moved, alone=False),), None, None)
    found = canary_scores(among, canaries)
    assert found is not None
    assert torch.equal(found, canaries.scores(moved))
    canaries.others.append(other)
    assert not sees_all(alone, canaries)


def test_bounds_are_the_best_of_ten_thresholds_each_at_a_tenth_of_the_doubt() -> None:
    """The oracle sets the thresholds on the held-out tenth itself."""
    scores, inside = scored(MU, 3)
    found = bounds(scores, inside, stream(), delta=DELTA, confidence=0.95)
    order = torch.from_numpy(stream().permutation(4000).copy())
    sets, tests = order[:400], order[400:]
    each, best, least, proven = 1 - 0.05 / 10, 0.0, math.inf, 0.0
    for place in range(10):
        cut = float(scores[sets].quantile((place + 0.5) / 10))
        errors = errors_at(scores[tests], inside[tests], cut)
        shift = gaussian_mu(errors, confidence=each)
        best, least = max(best, shift.lower), min(least, shift.upper)
        proven = max(proven, clopper_pearson_epsilon(errors, delta=DELTA, confidence=each))
    assert found.gaussian == pytest.approx(exact_epsilon(best, DELTA))
    assert found.at_most == pytest.approx(exact_epsilon(least, DELTA))
    assert found.clopper_pearson == pytest.approx(proven)
    guesses = {count: correct_guesses(scores, inside, count) for count in (80, 800)}
    shown = [
        one_run(4000, count, right, delta=DELTA, confidence=0.975)
        for count, right in guesses.items()
    ]
    assert found.steinke == pytest.approx(max(shown))
    shifts = [one_run_mu(4000, count, right, confidence=0.975) for count, right in guesses.items()]
    assert found.f_dp == pytest.approx(exact_epsilon(max(shifts), DELTA))


def test_records_can_refute_a_claim_if_coins_decided_and_are_never_proof_that_it_holds() -> None:
    strong, weak = scored(4 * MU, 1), scored(0.0, 1)
    found = membership_line(Scored("loss", *strong), CLAIM, by_coins=True)
    assert found.verdict is Verdict.VIOLATED
    assert found.epsilon is not None
    assert found.epsilon == one_run_epsilon(*strong, delta=DELTA, confidence=LINE_CONFIDENCE)
    assert (
        membership_line(Scored("loss", *strong), CLAIM, by_coins=False).verdict is Verdict.UNDECIDED
    )
    nothing = membership_line(Scored("loss", *weak), CLAIM, by_coins=True)
    assert (nothing.verdict, nothing.epsilon) == (Verdict.UNDECIDED, 0.0)
    assert "says nothing about better attacks" in nothing.why
    unclaimed = membership_line(Scored("loss", *strong), None, by_coins=True)
    assert (unclaimed.verdict, unclaimed.epsilon) == (Verdict.UNCLAIMED, None)
    assert all(point.allowed is None for point in unclaimed.points)


def test_a_line_tells_what_was_measured_beside_what_is_claimed() -> None:
    scores, inside = scored(MU, 1)
    line = membership_line(Scored("loss", scores, inside), CLAIM, by_coins=True)
    at_one, at_a_tenth = line.points
    assert (at_one.rate, at_a_tenth.rate) == (0.01, 0.001)
    assert at_one.allowed == CLAIM.profile.most_true_positives(0.01)
    assert at_one.share is not None
    assert at_one.share.lower < at_one.share.value < at_one.share.upper
    assert line.auc == pytest.approx(0.76025, abs=0.02)
    head, row, reason = table_lines([line])
    assert head.split()[:2] == ["verdict", "attack"]
    assert f"{line.auc:.3f}" in row
    assert f"/ {at_one.allowed:.3f}" in row
    assert reason.startswith("cannot tell (loss): no violation found")
    written = line.to_json()
    assert line.to_json()["points"] == [point.to_json() for point in line.points]
    assert at_one.to_json()["interval"] == [at_one.share.lower, at_one.share.upper]
    assert written["verdict"] == "cannot tell"
    assert "curve" not in written


def test_too_few_others_are_not_measured() -> None:
    line = membership_line(Scored("loss", *scored(MU, 1, m=150)), None, by_coins=True)
    assert [point.share for point in line.points] == [None, None]
    assert "too few records" in next(
        row for row in table_lines([line]) if row.startswith("no claim")
    )


def test_a_rate_finer_than_the_attack_is_good_for_is_not_measured() -> None:
    line = membership_line(
        Scored("RMIA", *scored(MU, 1, m=9000), finest=0.002), None, by_coins=True
    )
    at_one, at_a_tenth = line.points
    assert at_one.share is not None
    assert at_a_tenth.share is None


def test_too_few_records_make_no_line_and_no_traceback() -> None:
    four = Scored("loss", torch.arange(4.0), torch.tensor([True, True, True, False]))
    line = membership_line(four, CLAIM, by_coins=True)
    assert (line.verdict, line.auc) == (Verdict.UNDECIDED, None)
    assert line.why == "3 records that were trained on and 1 that were not are too few"
    single = Scored("loss", torch.arange(1.0), torch.tensor([True]))
    line = membership_line(single, CLAIM, by_coins=True)
    assert line.why == "1 records that were trained on and 0 that were not are too few"


def test_a_claim_holds_only_where_every_line_of_the_mechanism_does() -> None:
    def lines(*verdicts: Verdict) -> list[Line]:
        return [Line(name, verdict, "") for name, verdict in zip(MECHANISM, verdicts, strict=True)]

    holds, undecided = Verdict.HOLDS, Verdict.UNDECIDED
    right = lines(*[holds] * 5)
    canaries = Line("canaries", undecided, "")
    assert overall([*right, canaries]) is holds
    for place in range(5):
        verdicts = [holds] * 5
        verdicts[place] = undecided
        assert overall([*lines(*verdicts), canaries]) is undecided
        assert overall([*right[:place], *right[place + 1 :]]) is undecided
        verdicts[place] = Verdict.VIOLATED
        assert overall([*lines(*verdicts), canaries]) is Verdict.VIOLATED
    assert overall([*right, Line("canaries", Verdict.VIOLATED, "")]) is Verdict.VIOLATED


def test_the_worst_verdict_of_several_is_the_one_that_a_claim_suffers_from_most() -> None:
    assert worst([Verdict.HOLDS, Verdict.VIOLATED, Verdict.UNDECIDED]) is Verdict.VIOLATED
    assert worst([Verdict.HOLDS, Verdict.UNDECIDED]) is Verdict.UNDECIDED
    assert worst([Verdict.HOLDS, Verdict.HOLDS]) is Verdict.HOLDS
    assert worst([Verdict.UNCLAIMED]) is Verdict.UNCLAIMED


def test_without_a_claim_nothing_holds_and_nothing_is_violated() -> None:
    assert (
        overall([Line("a", Verdict.UNDECIDED, ""), Line("b", Verdict.UNCLAIMED, "")])
        is Verdict.UNDECIDED
    )
    assert overall([Line("b", Verdict.UNCLAIMED, "")]) is Verdict.UNCLAIMED
    assert overall([]) is Verdict.UNCLAIMED
