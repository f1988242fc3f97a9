"""Boxes open for their holder alone, also with keys that outlive the private key behind them."""

import pytest

from securefl.channels.masking.boxes import opened_with, sealed_with
from securefl.channels.masking.keys import SEALING
from securefl.channels.masking.round_secrets import RoundSecrets
from tests.channels.masking.parties import SESSION
from tests.channels.masking.puppeteer import SERVER_KEY

LABEL = b"securefl masking 1, a test"
SECRETS = {client: RoundSecrets.fresh() for client in range(3)}
PEERS = {
    client: SECRETS[client].advertisement(
        SESSION, 0, client, block=bytes(32), server_key=SERVER_KEY
    )
    for client in SECRETS
}
CONTENTS = {1: b"for one", 2: b"for two"}


def test_keys_that_are_derived_early_seal_and_open_what_the_private_key_would() -> None:
    keys_to, _ = SECRETS[0].box_keys(PEERS[0], PEERS, [1, 2], label=LABEL)
    boxes = sealed_with(keys_to, PEERS[0], PEERS, CONTENTS)
    for holder in (1, 2):
        _, keys_from = SECRETS[holder].box_keys(PEERS[holder], PEERS, [0], label=LABEL)
        sealed = {0: boxes[holder]}
        expected = {0: CONTENTS[holder]}
        assert opened_with(keys_from, PEERS[holder], PEERS, sealed) == expected
        assert SECRETS[holder].opened(PEERS[holder], PEERS, sealed, label=LABEL) == expected
    sealed = {1: SECRETS[1].seal(PEERS[1], PEERS, {0: b"back"}, label=LABEL)[0]}
    _, keys_from = SECRETS[0].box_keys(PEERS[0], PEERS, [1, 2], label=LABEL)
    assert opened_with(keys_from, PEERS[0], PEERS, sealed) == {1: b"back"}


@pytest.mark.parametrize("what", ["another holder", "another label", "the other direction"])
def test_a_box_does_not_open_with_another_key(what: str) -> None:
    keys_to, keys_from = SECRETS[0].box_keys(PEERS[0], PEERS, [1, 2], label=LABEL)
    boxes = sealed_with(keys_to, PEERS[0], PEERS, CONTENTS)
    holder = 2 if what == "another holder" else 1
    label = SEALING if what == "another label" else LABEL
    _, wrong = SECRETS[holder].box_keys(PEERS[holder], PEERS, [0], label=label)
    if what == "the other direction":
        wrong = {0: keys_from[1]}
    assert opened_with(wrong, PEERS[holder], PEERS, {0: boxes[1]}) == {}


def test_a_client_that_forgot_its_secrets_has_none() -> None:
    forgotten = SECRETS[0].forgotten()
    assert (forgotten.mask.private, forgotten.sealing.private, forgotten.seed) == (b"", b"", b"")
