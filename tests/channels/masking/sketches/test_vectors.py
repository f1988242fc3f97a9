"""The test vectors of docs/sketches.md, read from the page and computed with the channel's code."""

import re

import numpy as np
import pytest

from securefl.channels.masking.sketches import dealing
from securefl.channels.masking.sketches.dealing import (
    SKETCHES,
    Shares,
    check_dealing,
    context_of,
    deal,
)
from securefl.channels.masking.sketches.distances import pair_values, squared_distances
from securefl.channels.masking.sketches.field import P, packed
from securefl.channels.masking.sketches.matrix import Matrix, seed_of
from tests.channels.masking.sketches.dealers import counting
from tests.paths import ROOT

PAGE = (ROOT / "docs/sketches.md").read_text(encoding="utf-8").split("## Test vectors")[1]
POINTS = {4: 1, 6: 2, 7: 3}
DRAWN = {"+": 1, "0": 0, "-": -1}


def table(head: str) -> list[list[str]]:
    """Returns the rows of the table whose first row begins like this, without its two head rows."""
    (found,) = re.findall(rf"^\| {re.escape(head)} \|.*\n(?:\|.*\n)+", PAGE, flags=re.MULTILINE)
    rows = found.splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def values(head: str) -> dict[str, str]:
    return dict(table(head))


def bytes_of(text: str) -> bytes:
    """Returns what `a..b` or hex stands for."""
    if ".." in text:
        start, stop = (int(end, 16) for end in text.split(".."))
        return bytes(range(start, stop + 1))
    return bytes.fromhex(text)


def element(text: str) -> int:
    return int(text) if text.isdecimal() else P - int(text.removeprefix("p-"))


MATRIX = values("matrix")
DEALING = values("dealing")
PAIRS = table("pair | squared distance, weighted")
DECODED = table("pair | point 1")


def test_the_seed_of_a_matrix_is_that_of_its_parts() -> None:
    seed = seed_of(
        terms=bytes_of(MATRIX["digest of terms"]),
        session=bytes_of(MATRIX["session"]),
        round=int.from_bytes(bytes_of(MATRIX["round (4 bytes, little-endian)"]), "little"),
        nonce=bytes_of(MATRIX["nonce"]),
        uploads=bytes_of(MATRIX["digest of uploads"]),
    )
    assert seed.hex() == MATRIX["seed"]


@pytest.mark.parametrize("column", [0, 1, 999])
def test_columns_of_the_matrix_are_those_of_its_seed(column: int) -> None:
    entries = [DRAWN[entry] for entry in MATRIX[f"column {column}, k = 18"].split()]
    unit = np.zeros(1000, dtype=np.uint32)
    unit[column] = 1
    matrix = Matrix(bytes_of(MATRIX["seed of what follows"]), size=18, d=1000)
    assert matrix.sketch(unit).view(np.int32).tolist() == entries


def test_the_sketch_is_that_of_the_words() -> None:
    assert "(j^2 x 9e3779b1 + j) mod 2^32, j from 0" in PAGE
    words = np.array([(j * j * 0x9E3779B1 + j) % 2**32 for j in range(1000)], dtype=np.uint32)
    shown = f"{MATRIX['sketch 0 to 7, k = 16']} {MATRIX['sketch 8 to 15, k = 16']}"
    matrix = Matrix(bytes_of(MATRIX["seed of what follows"]), size=16, d=1000)
    assert [f"{coordinate:08x}" for coordinate in matrix.sketch(words)] == shown.split()


def shown_context() -> bytes:
    return bytes_of(DEALING["context"])


def shown_shares() -> dict[int, list[int]]:
    return {
        client: [element(share) for share in DEALING[f"shares of {client}"].split()]
        for client in POINTS
    }


def shown_table() -> dict[int, bytes]:
    return {client: bytes_of(DEALING[f"table of {client}"]) for client in POINTS}


def shown_proof() -> bytes:
    return bytes_of(DEALING["proof of the value"]) + bytes_of(DEALING["proof of the zero"])


def test_the_context_of_a_dealing_is_that_of_its_parts() -> None:
    assert DEALING["label"].encode() == SKETCHES
    context = context_of(
        SKETCHES,
        session=bytes_of(DEALING["session"]),
        round=int(DEALING["round"]),
        uploads=bytes_of(DEALING["digest of uploads"]),
    )
    assert context == shown_context()


def test_a_dealing_with_the_draws_of_the_page_is_that_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dealing, "random_elements", counting())
    dealt = deal([-5], zeros=1, degree=1, points=POINTS, context=shown_context(), sender=6)
    shares = {client: packed(elements) for client, elements in shown_shares().items()}
    assert dealt.shares == shares
    assert dealt.table == shown_table()
    assert dealt.proof == shown_proof()


@pytest.mark.parametrize("holder", POINTS)
def test_every_holder_accepts_the_dealing_of_the_page(holder: int) -> None:
    value, _, zero, _, _ = shown_shares()[holder]
    accepted = check_dealing(
        packed(shown_shares()[holder]),
        holder=holder,
        point=POINTS[holder],
        sender=6,
        context=shown_context(),
        table=shown_table(),
        proof=shown_proof(),
        values=1,
        zeros=1,
        degree=1,
    )
    assert accepted == Shares([value], [zero])


def clients_of(text: str) -> tuple[int, int]:
    one, other = text.split(" and ")
    return int(one), int(other)


def test_the_answer_of_a_holder_is_the_distance_with_the_zeros_of_both_clients() -> None:
    weights = {4: 2, 6: 3, 9: 1}
    shares = {4: [5, 7], 6: [1, 2], 9: [P - 1, 0]}
    zeros: dict[int, list[int]] = {client: [] for client in weights}
    # The rows are ascending, and so are the zeros of a client.
    for pair, _, ends, _ in PAIRS:
        for client, zero in zip(clients_of(pair), ends.split(" + "), strict=True):
            zeros[client].append(int(zero))
    own = {client: Shares(shares[client], zeros[client]) for client in weights}
    answers = {clients_of(pair): int(answer) for pair, _, _, answer in PAIRS}
    assert pair_values(own, weights, (4, 6, 9)) == answers
    for _, squared, ends, answer in PAIRS:
        by_hand, distance = squared.split(" = ")
        assert worked(by_hand) == int(distance)
        assert int(distance) + sum(map(int, ends.split(" + "))) == int(answer)


def worked(sum_of_squares: str) -> int:
    """Returns a sum such as (3 x 5 - 2 x 1)^2 + (3 x 7 - 2 x 2)^2."""
    term = r"\((\d) x (\d) ([+-]) (\d) x (\d)\)\^2"
    assert re.fullmatch(rf"{term} \+ {term}", sum_of_squares)
    return sum(
        (int(a) * int(b) + int(f"{sign}1") * int(c) * int(d)) ** 2
        for a, b, sign, c, d in re.findall(term, sum_of_squares)
    )


def test_distances_come_out_of_the_answers_of_five_holders_of_whom_one_lies() -> None:
    answers = {
        point: {clients_of(row[0]): element(row[point]) for row in DECODED} for point in range(1, 6)
    }
    result = squared_distances(
        answers,  # nobody answers for the third pair
        clients=(1, 2, 3),
        weights={1: 1, 2: 1, 3: 1},
        degree=2,
        errors=1,
        most=100,
    )
    assert result.squared == {clients_of(row[0]): int(row[-1]) for row in DECODED}
    assert result.wrong == {4}
    assert result.undecoded == {(2, 3)}
