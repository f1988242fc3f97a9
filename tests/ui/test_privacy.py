"""securefl privacy: the numbers of the accountant, and refusals in one sentence."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from securefl.privacy.accounting import crosscheck
from securefl.privacy.events import SampledGaussian
from securefl.ui.commands.privacy import _prv_in_words
from tests.commands import call, refused, scenario_file

RELEASES = ("--sample-rate", "0.064", "--noise-multiplier", "1.1", "--steps", "320")


def facts_of(*arguments: str, cwd: Path) -> dict[str, object]:
    done = call("privacy", *arguments, "--display", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def test_epsilon_with_both_ends_and_two_cross_checks(tmp_path: Path) -> None:
    facts = facts_of("epsilon", *RELEASES, "--delta", "1e-5", cwd=tmp_path)
    assert facts["epsilon"] == pytest.approx(6.552, abs=1e-3)
    assert facts["lower"] == pytest.approx(6.552, rel=5e-3)
    assert facts["renyi"] == pytest.approx(7.237, abs=1e-3)
    assert facts["prv"] == pytest.approx(6.5625, abs=1e-3)


def test_calibrate_gives_noise_that_costs_the_target(tmp_path: Path) -> None:
    how = ("--sample-rate", "0.064", "--steps", "320", "--delta", "1e-5")
    facts = facts_of("calibrate", "--epsilon", "8", *how, cwd=tmp_path)
    again = facts_of(
        "epsilon", "--noise-multiplier", str(facts["noise_multiplier"]), *how, cwd=tmp_path
    )
    assert again["epsilon"] == pytest.approx(facts["epsilon"], rel=1e-6)
    assert 0.995 * 8 <= float(str(facts["epsilon"])) <= 8


def test_a_profile_with_a_plot(tmp_path: Path) -> None:
    done = call("privacy", "profile", *RELEASES, "--plot", "p.svg", cwd=tmp_path)
    assert "epsilon   6.5522  delta 1e-05" in done.stdout
    assert "no attack finds more than 0.0377 of the members at 0.001 false alarms" in done.stdout
    assert (tmp_path / "p.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_an_accountant_that_is_too_low_or_has_no_answer_is_told_so(tmp_path: Path) -> None:
    # Its sums depend on the processor: here, one is too low on some and not on others.
    sizes = ("--noise-multiplier", "50", "--steps", "20000")
    done = call("privacy", "epsilon", *sizes, "--delta", "1e-12", cwd=tmp_path)
    found = re.search(r"surely not below ([0-9.]+)\).*Opacus PRV ([0-9.]+)(.*)", done.stdout, re.S)
    assert found is not None
    is_too_low = float(found[2]) < float(found[1])
    assert found[3] == (", which is too low\n" if is_too_low else "\n")
    assert _prv_in_words(23.3645, 23.3954) == "23.3645, which is too low"
    assert done.stderr == ""
    done = call(
        "privacy",
        "epsilon",
        "--noise-multiplier",
        "1",
        "--steps",
        "1",
        "--delta",
        "0.9",
        cwd=tmp_path,
    )
    assert "Opacus PRV none" in done.stdout


def test_a_cross_check_that_cannot_is_told_so_and_the_answer_stands(tmp_path: Path) -> None:
    # Opacus' roundings exceed this delta: it used to end the command with exit code 2.
    releases = (
        "--sample-rate",
        "0.01",
        "--noise-multiplier",
        "0.64638",
        "--steps",
        "164016",
        "--delta",
        "1e-14",
    )
    done = call("privacy", "epsilon", *releases, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith(", Opacus PRV cannot")
    assert facts_of("epsilon", *releases, cwd=tmp_path)["prv"] is None


def test_a_cross_check_that_would_take_minutes_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    inner = crosscheck._affordable

    def noted(domain_of: Any, delta: float, **sizes: Any) -> Any:
        asked.append(domain_of(**sizes).size)
        return inner(domain_of, delta, **sizes)

    monkeypatch.setattr(crosscheck, "_affordable", noted)
    assert crosscheck.prv_epsilon({SampledGaussian(0.5, 0.1, 100_000): 1}, delta=1e-5) is None
    assert asked
    assert asked[0] > 2**22


def test_clients_are_told_for_who_knows_the_cohorts_and_who_does_not(tmp_path: Path) -> None:
    sizes = (
        "--cohort",
        "10",
        "--clients",
        "100",
        "--rounds",
        "200",
        "--noise-multiplier",
        "1",
        "--delta",
        "1e-5",
    )
    facts = facts_of("clients", *sizes, cwd=tmp_path)
    assert facts["fixed"] == pytest.approx(11.40, abs=5e-3)
    assert facts["poisson"] == pytest.approx(9.971, abs=1e-3)
    assert facts["renyi"] == pytest.approx(20.71, abs=1e-2)
    assert facts["seen"] == pytest.approx(159.44, abs=1e-2)


TEN = (
    "--place",
    "distributed",
    "--shares",
    "10",
    "--granularity",
    "0.001",
    "--dimension",
    "1000",
)
FIFTY = ("--steps", "50", "--delta", "1e-3")


@pytest.mark.parametrize(
    ("contributing", "expected"), [((), 7.1828), (("--contributing", "6"), 9.9934)]
)
def test_epsilon_of_shares_is_the_proven_bound_and_names_no_other(
    tmp_path: Path, contributing: tuple[str, ...], expected: float
) -> None:
    facts = facts_of(
        "epsilon", "--noise-multiplier", "4", *FIFTY, *TEN, *contributing, cwd=tmp_path
    )
    assert facts["epsilon"] == pytest.approx(expected, abs=5.1e-5)
    assert set(facts) == {"epsilon", "delta", "event"}
    event = facts["event"]
    assert isinstance(event, dict)
    assert (event["shares"], event["dimension"]) == (6 if contributing else 10, 1000)


def test_epsilon_of_shares_says_which_count_and_how_large_the_gap_is(tmp_path: Path) -> None:
    done = call(
        "privacy", "epsilon", "--noise-multiplier", "4", *FIFTY, *TEN, "--contributing", "6",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "epsilon 9.99343 at delta 0.001 (a proven bound)",
        "50 sums, each over all records; noise multiplier 4 is that of 10 shares of discrete"
        " Gaussian noise together",
        "6 shares of this size count here, with noise multiplier 3.09839 together",
        "gap tau 0 in each of 1000 coordinates",
        "the claim holds against the server and every client whose share does not count",
    ]


def test_calibrated_shares_cost_the_target_with_those_that_count(tmp_path: Path) -> None:
    how = (*FIFTY, *TEN, "--sample-rate", "0.2")
    facts = facts_of("calibrate", "--epsilon", "3", *how, cwd=tmp_path)
    again = facts_of(
        "epsilon", "--noise-multiplier", str(facts["noise_multiplier"]), *how, cwd=tmp_path
    )
    assert again["epsilon"] == pytest.approx(facts["epsilon"], rel=1e-6)
    assert 0.995 * 3 <= float(str(facts["epsilon"])) <= 3


def test_calibrate_sizes_the_shares_that_count_and_no_others(tmp_path: Path) -> None:
    # With two numbers of shares, the multiplier could be read as that of either.
    how = ("--epsilon", "3", *FIFTY, *TEN, "--contributing", "6")
    done = call("privacy", "calibrate", *how, cwd=tmp_path)
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_a_profile_of_shares(tmp_path: Path) -> None:
    done = call("privacy", "profile", "--noise-multiplier", "4", *FIFTY, *TEN, cwd=tmp_path)
    assert "epsilon   7.1828  delta 0.001" in done.stdout
    assert "noise multiplier 4 is that of 10 shares" in done.stdout
    assert "count here" not in done.stdout


SHARED = """
rounds = 20
training = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }
privacy = { epsilon = 3.0, place = "distributed" }
channel = { kind = "masked" }
"""


def test_the_command_that_validate_prints_has_the_epsilon_and_the_noise_of_the_run(
    tmp_path: Path,
) -> None:
    said = call("validate", scenario_file(tmp_path, SHARED), cwd=tmp_path).stdout
    (line,) = re.findall(r"to check it: securefl privacy (epsilon .*)", said)
    (multiplier,) = re.findall(r"noise: multiplier ([0-9.]+) ", said)
    words = shlex.split(line)
    facts = facts_of(*words, cwd=tmp_path)
    assert 0.995 * 3 <= float(str(facts["epsilon"])) <= 3
    at = words.index("--noise-multiplier")
    assert words[at + 1] == multiplier
    # The other way round: the same shares and the target give the scenario's multiplier.
    how = [*words[1:at], *words[at + 2 :]]
    calibrated = facts_of("calibrate", "--epsilon", "3", *how, cwd=tmp_path)
    assert calibrated["noise_multiplier"] == pytest.approx(float(multiplier), rel=1e-4)


def test_central_noise_costs_what_local_noise_costs(tmp_path: Path) -> None:
    one = ("epsilon", "--noise-multiplier", "4", "--steps", "2", "--delta", "1e-5")
    assert facts_of(*one, "--place", "central", cwd=tmp_path) == facts_of(*one, cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("epsilon", "--noise-multiplier", "1", *FIFTY, "--shares", "3"),
            "--shares has no effect on local noise: add --place distributed, or remove it",
        ),
        (
            ("calibrate", "--epsilon", "1", *FIFTY, "--place", "central", "--dimension", "3"),
            "--dimension has no effect on central noise",
        ),
        (
            ("profile", "--noise-multiplier", "1", *FIFTY, *TEN[:-2]),
            "--place distributed needs --shares, --granularity and --dimension",
        ),
        (
            ("epsilon", "--noise-multiplier", "1", *FIFTY, *TEN, "--contributing", "0"),
            "--contributing must be positive and finite, got 0",
        ),
        (
            ("epsilon", "--noise-multiplier", "1", *FIFTY, *TEN, "--shares", "0"),
            "--shares must be positive and finite, got 0",
        ),
        (
            ("calibrate", "--epsilon", "1", *FIFTY, *TEN, "--granularity", "0"),
            "--granularity must be positive and finite, got 0",
        ),
        (
            ("profile", "--noise-multiplier", "1", *FIFTY, *TEN, "--dimension", "-2"),
            "--dimension must be positive and finite, got -2",
        ),
        (
            ("epsilon", "--noise-multiplier", "1", "--steps", "0", "--delta", "1e-5", *TEN),
            "steps must be >= 1, got 0",
        ),
        (
            ("epsilon", "--noise-multiplier", "0", *FIFTY, *TEN),
            "--noise-multiplier must be positive and finite, got 0",
        ),
        (
            ("epsilon", "--noise-multiplier", "1", "--steps", "0", "--delta", "1e-5"),
            "steps must be >= 1, got 0",
        ),
        (
            ("epsilon", "--noise-multiplier", "1", "--steps", "1", "--delta", "1"),
            "delta must be in (0, 1), got 1.0",
        ),
        (
            ("calibrate", "--epsilon", "0", "--steps", "1", "--delta", "1e-5"),
            "target epsilon must be positive",
        ),
        (
            ("profile", "--noise-multiplier", "0", "--steps", "1"),
            "only releases with noise have a privacy profile",
        ),
        (
            ("profile", "--noise-multiplier", "1", "--steps", "1", "--plot", "no/p.svg"),
            "cannot write no/p.svg: No such",
        ),
        (
            ("profile", "--noise-multiplier", "1", "--steps", "1", "--plot", "p.txt"),
            "got p.txt",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    refused(call("privacy", *arguments, cwd=tmp_path), 2, sentence)
