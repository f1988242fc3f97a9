"""A claim is said with its unit, the place of its noise and its adversary."""

import pytest

from securefl.scenario.claim_words import claim_words
from securefl.scenario.scenario import parse_scenario

SUM = """
rounds = 2
training = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }
privacy = { epsilon = 3.0 }
channel = { kind = "masked" }
"""
MODELS_ONLY = "central noise: the claim holds against those who see models only, and NOT against "


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((), "local noise: the claim holds against everybody else"),
        (
            ('privacy.place="distributed"',),
            "distributed noise: the claim holds against the server together with up to 1 client of",
        ),
        (
            ('privacy.place="distributed"', "channel.corrupt=2"),
            "the server together with up to 2 clients of a sum",
        ),
        (
            ('privacy.place="central"',),
            MODELS_ONLY + "the server, which opens the sum and adds the noise",
        ),
        (
            ('privacy.place="central"', 'channel.kind="plain"'),
            MODELS_ONLY + "the server, which sees every update without noise",
        ),
        (
            ('privacy.place="central"', 'channel.kind="ckks"'),
            "central noise: the claim holds against those who get a model and no key, and can "
            "change no ciphertext, and NOT against the key holders, who open the sum and add the "
            "noise, nor against whoever changes ciphertexts, as the server could",
        ),
    ],
    ids=range(6),
)
def test_a_claim_names_whom_it_holds_against(changes: tuple[str, ...], said: str) -> None:
    words = claim_words(parse_scenario(SUM, overrides=changes).resolved())
    assert words.startswith("epsilon is for one training record; ")
    assert said in words


def test_a_claim_for_clients_says_so() -> None:
    resolved = {
        "privacy": {"epsilon": 8.0, "unit": "client", "place": "local"},
        "channel": {"kind": "plain"},
    }
    assert claim_words(resolved).startswith("epsilon is for everything that one client trains on;")


@pytest.mark.parametrize("change", ['privacy.epsilon="inf"', "privacy.epsilon=inf"])
def test_nothing_is_said_where_nothing_is_claimed(change: str) -> None:
    assert claim_words(parse_scenario(SUM, overrides=(change,)).resolved()) == ""
    assert claim_words({"privacy": None, "channel": {"kind": "plain"}}) == ""
