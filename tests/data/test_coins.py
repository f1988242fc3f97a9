"""Numbers of each record's own: their canonical form, copies, and removals that change no other."""

import hashlib
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from securefl.data.coins import below, coins, content_hashes, record_numbers
from securefl.data.task import Examples
from securefl.rng import seeded_keystream

KEY = seeded_keystream(0, "test").bytes(32)


def numbers_of(examples: Examples, seed: int = 0) -> list[tuple[int, ...]]:
    return [tuple(row) for row in record_numbers(examples, seeded_keystream(seed, "test")).tolist()]


def records_of(values: list[int]) -> Examples:
    """Returns records of one feature; the label is its parity, so that equal values are copies."""
    return Examples(torch.tensor(values).float()[:, None], torch.tensor(values) % 2)


def test_the_canonical_form_of_a_record_by_hand() -> None:
    rows = Examples(torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([3, 4]))
    head = b"securefl record 1\nfloat32 2\n"
    by_hand = [
        hashlib.sha256(
            head + struct.pack("<2f", 1.0, -2.0) + b"int64 \n" + struct.pack("<q", 3)
        ).digest(),
        hashlib.sha256(
            head + struct.pack("<2f", 0.5, 3.0) + b"int64 \n" + struct.pack("<q", 4)
        ).digest(),
    ]
    assert content_hashes(rows) == by_hand
    image = Examples(
        torch.tensor([[[[7, 8], [9, 10]]]], dtype=torch.uint8), torch.tensor([[0, 1, 1]])
    )
    written = b"securefl record 1\nuint8 1 2 2\n" + bytes([7, 8, 9, 10])
    written += b"int64 3\n" + struct.pack("<3q", 0, 1, 1)
    assert content_hashes(image) == [hashlib.sha256(written).digest()]


def test_the_form_does_not_depend_on_the_layout_of_a_tensor_in_memory() -> None:
    rows = torch.arange(12.0).reshape(3, 4)
    labels = torch.tensor([0, 1, 2])
    apart = torch.arange(12.0).reshape(3, 4).T.contiguous().T
    assert not apart.is_contiguous()
    assert content_hashes(Examples(rows, labels)) == content_hashes(Examples(apart, labels))


def test_features_and_label_both_make_the_content() -> None:
    hashes = content_hashes(Examples(torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([0, 1, 0])))
    assert len(set(hashes)) == 3


def test_the_numbers_of_the_kth_copy_by_hand() -> None:
    examples = records_of([5, 8, 5, 5])
    content = content_hashes(examples)
    copies = (0, 0, 1, 2)
    by_hand = [
        struct.unpack("<4Q", hashlib.sha256(KEY + digest + struct.pack("<Q", copy)).digest())
        for digest, copy in zip(content, copies, strict=True)
    ]
    assert numbers_of(examples) == by_hand
    assert len(set(numbers_of(examples))) == 4


def test_another_key_gives_other_numbers() -> None:
    assert not set(numbers_of(records_of([1, 2, 3]))) & set(
        numbers_of(records_of([1, 2, 3]), seed=1)
    )


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.data())
def test_removing_any_record_takes_its_own_numbers_and_leaves_all_others(
    values: list[int], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    rest = values[:place] + values[place + 1 :]
    before = Counter(zip(values, numbers_of(records_of(values)), strict=True))
    after = Counter(zip(rest, numbers_of(records_of(rest)), strict=True) if rest else ())
    assert not after - before
    (gone,) = (before - after).elements()
    assert gone[0] == values[place]


@given(st.permutations([0, 1, 2, 2, 3, 3, 3]))
def test_the_order_of_the_records_does_not_matter(values: list[int]) -> None:
    ordered = sorted(values)
    first = Counter(zip(ordered, numbers_of(records_of(ordered)), strict=True))
    assert Counter(zip(values, numbers_of(records_of(values)), strict=True)) == first


def test_no_record_has_no_numbers() -> None:
    assert record_numbers(records_of([]), seeded_keystream(0, "test")).shape == (0, 4)


def test_coins_fall_as_often_as_they_should() -> None:
    # Four deviations: one false alarm in 16,000; a probability off by a tenth is ten away.
    n = 40_000
    p = 0.2
    drawn = record_numbers(records_of(list(range(n))), seeded_keystream(7, "test"))
    for column in range(4):
        share = float(coins(drawn[:, column], probability=p).double().mean())
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5)
    # Two columns are independent.
    both = coins(drawn[:, 0], probability=p) & coins(drawn[:, 1], probability=p)
    q = p * p
    assert float(both.double().mean()) == pytest.approx(q, abs=4 * (q * (1 - q) / n) ** 0.5)
    counts = torch.bincount(below(drawn[:, 1], 9), minlength=9).double()
    assert len(counts) == 9
    # The chi-square of eight degrees of freedom is above 31.8 in one case of 10,000.
    assert float(((counts - n / 9) ** 2 / (n / 9)).sum()) < 31.8


def test_coins_by_hand() -> None:
    numbers = np.array([0, 2**62 - 1, 2**62, 2**64 - 1], dtype=np.uint64)
    assert coins(numbers, probability=0.25).tolist() == [True, True, False, False]
    assert below(numbers, 1).tolist() == [0, 0, 0, 0]
    # 2^62 ends in 4, 2^64 in 6.
    assert below(numbers, 10).tolist() == [0, 3, 4, 5]


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_coin_that_is_always_alike_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="needs a probability above 0 and below 1"):
        coins(np.zeros(1, dtype=np.uint64), probability=probability)
