"""Receipts: signed by the site, and held against its files; an older file is named."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import ProtocolError, RunFolderError
from securefl.privacy.chain import GENESIS
from securefl.runs.deployed.envelope import Direction, Kind, Part, opened
from securefl.runs.deployed.receipts import (
    RECEIPT_BYTES,
    Files,
    Receipt,
    ReceiptBook,
    read_witness,
    write_witness,
)
from tests.runs.deployed.parties import SGD, deployment

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
RECEIPT = Receipt(b"c" * 32, 2, 7, "ab" * 32, "cd" * 32)
FILES = Files(
    Path("site"),
    (GENESIS, "ab" * 32, "ef" * 32),
    (GENESIS, "cd" * 32),
    lambda charter: 7 if charter == b"c" * 32 else -1,
)


def test_a_receipt_comes_back_as_it_was_signed() -> None:
    data = RECEIPT.signed(KEY)
    assert len(data) == RECEIPT_BYTES
    assert Receipt.opened(data, PUBLIC, site=2) == RECEIPT


def test_a_receipt_with_any_changed_byte_another_length_site_or_key_is_refused() -> None:
    data = RECEIPT.signed(KEY)
    changed = [
        data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(len(data))
    ]
    for other in (*changed, b"", data[:-1], data + b"\0"):
        with pytest.raises(ProtocolError, match="no receipt of this site"):
            Receipt.opened(other, PUBLIC, site=2)
    with pytest.raises(ProtocolError, match="no receipt of this site"):
        Receipt.opened(data, PUBLIC, site=1)
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(ProtocolError, match="no receipt of this site"):
        Receipt.opened(RECEIPT.signed(stranger), PUBLIC, site=2)


def test_files_that_hold_everything_a_receipt_names_are_current() -> None:
    FILES.require(RECEIPT)
    FILES.require(replace(RECEIPT, number=6, ledger=GENESIS, log=GENESIS))


@pytest.mark.parametrize(
    ("receipt", "name"),
    [
        (replace(RECEIPT, ledger="99" * 32), "ledger"),
        (replace(RECEIPT, log="99" * 32), "audit.jsonl"),
        (replace(RECEIPT, number=8), "answered.json"),
        (replace(RECEIPT, charter=b"d" * 32, number=1), "answered.json"),
    ],
)
def test_a_file_that_is_older_than_a_receipt_is_named(receipt: Receipt, name: str) -> None:
    with pytest.raises(RunFolderError, match=rf"site/{name} is older than a receipt"):
        FILES.require(receipt)


def test_a_witness_keeps_the_newest_receipt(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    write_witness(path, RECEIPT.signed(KEY))
    newer = replace(RECEIPT, number=8)
    write_witness(path, newer.signed(KEY))
    assert read_witness(path, PUBLIC, site=2) == newer


def test_a_witness_that_is_missing_damaged_or_another_sites_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    with pytest.raises(RunFolderError, match="cannot read the witness"):
        read_witness(path, PUBLIC, site=2)
    for data in (b"", RECEIPT.signed(KEY)[:-1], replace(RECEIPT, site=1).signed(KEY)):
        path.write_bytes(data)
        with pytest.raises(RunFolderError, match="is damaged, or another site's"):
            read_witness(path, PUBLIC, site=2)


def test_a_coordinator_keeps_the_newest_receipts_and_returns_them(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    parties.play()
    to_site: list[tuple[Part, ...]] = []
    from_site: list[tuple[Part, ...]] = []
    for data in parties.link.passed:
        for direction, key, parts in (
            (Direction.TO_SITE, parties.charter.server_key, to_site),
            (Direction.TO_COORDINATOR, parties.charter.keys[2], from_site),
        ):
            with suppress(ProtocolError):
                envelope = opened(
                    data,
                    key,
                    charter=parties.charter.digest,
                    direction=direction,
                    site=2,
                    limit=100_000,
                )
                parts.append(envelope.parts)
    assert len(to_site) == len(from_site) >= 2
    given = [parts[-1].content for parts in from_site]
    returned = [parts[0].content for parts in to_site[1:]]
    assert returned == given[:-1]
    assert not any(part.kind is Kind.RETURNED_RECEIPT for part in to_site[0])
    # Another coordinator on the folder, as after a crash, goes on from there.
    book = ReceiptBook(tmp_path / "receipts.json", parties.charter.keys)
    assert book.newest(2) == given[-1]
    with pytest.raises(ProtocolError, match="no receipt of this site"):
        book.take(1, bytes(given[-1]))
    assert parties.desk.counts.dropped == 0


def test_old_receipts_of_a_site_with_a_new_key_are_let_go(tmp_path: Path) -> None:
    path = tmp_path / "receipts.json"
    book = ReceiptBook(path, {2: PUBLIC})
    mine = RECEIPT.signed(KEY)
    book.take(2, mine)
    book.write()
    assert ReceiptBook(path, {2: PUBLIC}).newest(2) == mine
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert ReceiptBook(path, {2: other}).newest(2) is None
    assert ReceiptBook(path, {}).newest(2) is None


@pytest.mark.parametrize("text", ['{"0": "zz"}', '{"x": "00"}', '{"0": 5}'])
def test_damaged_receipts_are_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "receipts.json").write_text(text)
    with pytest.raises(RunFolderError, match="it holds no receipts"):
        ReceiptBook(tmp_path / "receipts.json", {0: PUBLIC})


def test_a_full_disk_at_the_coordinator_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = ReceiptBook(tmp_path / "receipts.json", {2: PUBLIC})
    book.write()
    assert not (tmp_path / "receipts.json").exists()
    book.take(2, RECEIPT.signed(KEY))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match=r"receipts\.json: No space left on device"):
            book.write()
    book.write()
    again = ReceiptBook(tmp_path / "receipts.json", {2: PUBLIC})
    assert again.newest(2) == RECEIPT.signed(KEY)
