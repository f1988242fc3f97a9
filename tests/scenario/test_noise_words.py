"""The noise of the three places can be compared."""

from collections.abc import Sequence

import pytest

from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.scenario.noise_words import noise_words
from securefl.scenario.scenario import parse_scenario

SUM = """
rounds = 20
training = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }
privacy = { epsilon = 3.0 }
"""
CLIENTS = """
rounds = 3
weights = "equal"
data = { name = "digits", partition = "iid", clients = 20 }
training = { kind = "sgd", batch = 32, lr = 0.5, clip = 0.5 }
privacy = { unit = "client", epsilon = 8.0, delta = 1e-3 }
"""


def said_of(text: str, *changes: str) -> Sequence[str]:
    return list(noise_words(parse_scenario(text, overrides=changes)))


def test_noise_of_each_clients_own_sum_is_said_with_that_of_all_of_them() -> None:
    # Four clients: the root of 4 times as much noise in the sum. 20 releases of a Gaussian.
    (line,) = said_of(SUM, "privacy.noise_multiplier=6.25")
    assert line == (
        "noise: multiplier 6.25 of each client's own sum, which is 12.5 of the sum of 4 clients"
    )
    (line,) = said_of(SUM)
    noise = float(line.split()[2])
    assert exact_epsilon(20**0.5 / noise, 1e-5) == pytest.approx(3, rel=5e-3)


def test_under_equal_weights_sums_of_unlike_clients_have_no_one_multiplier() -> None:
    (line,) = said_of(SUM, 'weights="equal"', "privacy.noise_multiplier=6.25")
    assert line == "noise: multiplier 6.25 of each client's own sum"


def test_noise_of_whole_updates_is_said() -> None:
    (line,) = said_of(CLIENTS)
    assert line.endswith(" of each client's own update")
    noise = float(line.split()[2])
    assert exact_epsilon(3**0.5 / noise, 1e-3) == pytest.approx(8, rel=5e-3)


def test_central_noise_needs_no_further_words() -> None:
    assert said_of(SUM, 'privacy.place="central"') == []


def test_nothing_is_said_of_noise_that_differs_between_clients() -> None:
    assert said_of("rounds = 2\nprivacy = { epsilon = 8.0 }\n") == []


def test_the_grid_of_the_command_is_that_of_the_channel() -> None:
    changes = ('privacy.place="distributed"', 'channel.kind="masked"')
    (line,) = said_of(SUM, *changes)
    words = line.split()
    noise, grid = (
        float(words[words.index(option) + 1]) for option in ("--noise-multiplier", "--granularity")
    )
    # The two shares that count, in steps of the grid.
    shares = parse_scenario(SUM, overrides=changes).facts.terms.noise
    assert noise / grid == pytest.approx(shares.share * 2**0.5, rel=1e-5)


@pytest.mark.parametrize("place", ["local", "distributed"])
@pytest.mark.parametrize(
    "before",
    [
        'init_from="runs/first"',
        'data.harmonise=[{name="standardise", bound=1.0, noise_multiplier=20.0}]',
    ],
    ids=["run", "fit"],
)
def test_nothing_is_said_where_something_was_paid_before(place: str, before: str) -> None:
    changes = (f"privacy.place={place}", 'channel.kind="masked"')
    assert len(said_of(SUM, *changes)) == 1
    assert said_of(SUM, *changes, before) == []


def test_a_sampled_sum_is_checked_at_its_rate() -> None:
    changes = ('privacy.place="distributed"', 'channel.kind="masked"', "training.sample_rate=0.25")
    (line,) = said_of(SUM, *changes)
    assert " --shares 2 " in line
    assert " --sample-rate 0.25 --steps 20 --delta 1e-05" in line
