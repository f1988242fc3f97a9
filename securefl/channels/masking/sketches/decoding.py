"""Reed-Solomon decoding: the polynomial behind shares, some of which are wrong or missing.

Source: Gao, "A new algorithm for decoding Reed-Solomon codes", 2003, algorithm 1.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from securefl.channels.masking.sketches.field import (
    MAX_POINT,
    P,
    dot,
    random_elements,
    value_at,
)


class Decoded(NamedTuple):
    """A polynomial, and the points whose values do not lie on it.

    Args:
        constant: its value at 0, the secret.
        coefficients: of 1, X, X^2 and so on: degree + 1 elements.
        wrong: points.
    """

    constant: int
    coefficients: tuple[int, ...]
    wrong: frozenset[int]


class Columns(NamedTuple):
    """The secrets of many columns of shares, and the points that are wrong in any of them.

    Args:
        constants: one secret a column; None for a column that cannot be decoded.
        wrong: points.
    """

    constants: list[int | None]
    wrong: frozenset[int]


def correctable(count: int, *, degree: int, errors: int) -> int:
    """Returns how many wrong ones of `count` values are corrected; negative if there are too few.

    With at least degree + 1 + 2 errors values, all `errors` of them. Every value short of that
    costs one: then the polynomial found has more than `errors` values against it, or is the right
    one. Silent liars are no worse off for that: a liar that is silent sends no wrong value.
    """
    return min(errors, count - degree - 1 - errors)


def decoded(values: Mapping[int, int], *, degree: int, errors: int) -> Decoded | None:
    """Returns the polynomial of a degree that all but a few of the values lie on.

    Guarantees, for values of which at most `errors` are wrong:
        - the polynomial returned is the right one;
        - one is returned if at most `correctable` values are wrong.

    Args:
        values: point -> element; points 1 to 2^31 - 1.
        degree: the greatest degree of the polynomial, at least 0.
        errors: the greatest number of wrong values, at least 0.

    Returns:
        None if no such polynomial exists, or if there are too few values to tell.

    Raises:
        ValueError: a degree, number or point out of range.
    """
    _check(values, degree, errors)
    radius = correctable(len(values), degree=degree, errors=errors)
    if radius < 0:
        return None
    points = tuple(sorted(values))
    polynomial = _nearest(points, [values[x] % P for x in points], degree)
    if polynomial is None:
        return None
    wrong = frozenset(x for x in points if value_at(polynomial, x) != values[x] % P)
    if len(wrong) > radius:
        return None
    coefficients = (*polynomial, *[0] * (degree + 1 - len(polynomial)))
    return Decoded(coefficients[0], coefficients, wrong)


def decoded_columns(
    values: Mapping[int, Sequence[int]], *, degree: int, errors: int
) -> list[int | None]:
    """Returns the secret of each column of shares; see `solved_columns`."""
    return solved_columns(values, degree=degree, errors=errors).constants


def solved_columns(values: Mapping[int, Sequence[int]], *, degree: int, errors: int) -> Columns:
    """Returns the secrets of many columns of shares, and who sent wrong ones.

    Wrong points are found on one random combination of all columns: a wrong value in any column
    shows there, except with probability about 2^-127. One sum a column then gives its secret, a
    second one checks it at all other points. A column that fails this check is decoded alone, and
    so is every column if the combination cannot be decoded.

    Args:
        values: point -> its elements, one a column, as many at every point.
        degree: the greatest degree of the polynomials, at least 0.
        errors: the greatest number of wrong points, at least 0.

    Raises:
        ValueError: as `decoded`, or points with different numbers of columns.
    """
    _check(values, degree, errors)
    widths = {len(row) for row in values.values()}
    if len(widths) > 1:
        raise ValueError("every point must have as many columns as the others")
    count = max(widths, default=0)
    mixing = random_elements(count)
    mixed = {x: dot(mixing, row) for x, row in values.items()}
    combination = decoded(mixed, degree=degree, errors=errors)
    if combination is None:
        return _one_by_one(values, range(count), degree=degree, errors=errors)
    right = tuple(sorted(set(values) - combination.wrong))
    weights = _at_zero(right[: degree + 1])
    parities = _parities(right, degree)
    columns = list(zip(*(values[x] for x in right), strict=True))
    constants: list[int | None] = [dot(weights, column) for column in columns]
    failing = [i for i, column in enumerate(columns) if dot(parities, column)]
    alone = _one_by_one(values, failing, degree=degree, errors=errors)
    for i, constant in zip(failing, alone.constants, strict=True):
        constants[i] = constant
    return Columns(constants, combination.wrong | alone.wrong)


def _one_by_one(
    values: Mapping[int, Sequence[int]], columns: Sequence[int], *, degree: int, errors: int
) -> Columns:
    constants: list[int | None] = []
    wrong: frozenset[int] = frozenset()
    for i in columns:
        column = decoded({x: row[i] for x, row in values.items()}, degree=degree, errors=errors)
        constants.append(None if column is None else column.constant)
        wrong |= frozenset() if column is None else column.wrong
    return Columns(constants, wrong)


def _nearest(points: tuple[int, ...], values: Sequence[int], degree: int) -> list[int] | None:
    """Returns the polynomial that more than half of the redundant values agree with, or None."""
    before, current = _vanishing(points), _through(points, values)
    factor_before: list[int] = []
    factor = [1]
    # Euclid's algorithm, stopped half-way: `current` is then `factor` times the polynomial.
    while 2 * (len(current) - 1) >= len(points) + degree + 1:
        quotient, rest = _divided(before, current)
        before, current = current, rest
        factor_before, factor = factor, _minus(factor_before, _times(quotient, factor))
    polynomial, rest = _divided(current, factor)
    if rest or len(polynomial) > degree + 1:
        return None
    return polynomial


def _vanishing(points: Sequence[int]) -> list[int]:
    """Returns the product of X - x over all points."""
    product = [1]
    for x in points:
        product = _times(product, [-x, 1])
    return product


def _through(points: tuple[int, ...], values: Sequence[int]) -> list[int]:
    """Returns the polynomial through all values, by Lagrange's formula."""
    vanishing = _vanishing(points)
    total = [0] * len(points)
    for x, scale, value in zip(points, _scales(points), values, strict=True):
        weight = value * scale % P
        # Synthetic division of the vanishing polynomial by X - x, from the top.
        coefficient = 0
        for i in range(len(points) - 1, -1, -1):
            coefficient = (coefficient * x + vanishing[i + 1]) % P
            total[i] += coefficient * weight
    return _trimmed([coefficient % P for coefficient in total])


@lru_cache(maxsize=256)
def _scales(points: tuple[int, ...]) -> tuple[int, ...]:
    """Returns 1 / product of x - y over all other points y, for every point x."""
    scales = []
    for x in points:
        product = 1
        for y in points:
            if y != x:
                product = product * (x - y) % P
        scales.append(pow(product, -1, P))
    return tuple(scales)


def _at_zero(points: tuple[int, ...]) -> list[int]:
    """Returns Lagrange's coefficients at zero."""
    weights = []
    for x, scale in zip(points, _scales(points), strict=True):
        product = scale
        for y in points:
            if y != x:
                product = product * -y % P
        weights.append(product)
    return weights


def _parities(points: tuple[int, ...], degree: int) -> list[int]:
    """Returns random coefficients that send every polynomial of the degree to zero.

    Other values go to zero with probability 1 / p.
    """
    random = random_elements(len(points) - degree - 1)
    return [
        value_at(random, x) * scale % P for x, scale in zip(points, _scales(points), strict=True)
    ]


def _trimmed(polynomial: list[int]) -> list[int]:
    while polynomial and not polynomial[-1]:
        polynomial.pop()
    return polynomial


def _times(one: Sequence[int], other: Sequence[int]) -> list[int]:
    product = [0] * max(0, len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            product[i + j] += a * b
    return _trimmed([coefficient % P for coefficient in product])


def _minus(one: Sequence[int], other: Sequence[int]) -> list[int]:
    difference = [*one, *[0] * (len(other) - len(one))]
    for i, b in enumerate(other):
        difference[i] -= b
    return _trimmed([coefficient % P for coefficient in difference])


def _divided(one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Returns quotient and rest."""
    rest = list(one)
    inverse = pow(other[-1], -1, P)
    quotient = [0] * max(0, len(one) - len(other) + 1)
    for i in range(len(quotient) - 1, -1, -1):
        factor = rest[i + len(other) - 1] * inverse % P
        quotient[i] = factor
        for j, b in enumerate(other):
            rest[i + j] = (rest[i + j] - factor * b) % P
    return _trimmed(quotient), _trimmed(rest[: len(other) - 1])


def _check(values: Mapping[int, object], degree: int, errors: int) -> None:
    if degree < 0 or errors < 0:
        raise ValueError(f"degree and errors must be at least 0, got {degree} and {errors}")
    if not all(1 <= x <= MAX_POINT for x in values):
        raise ValueError("a point must be 1 to 2^31 - 1; the secret itself lies at 0")
