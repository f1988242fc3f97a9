"""Values of a column as numbers: scaled by a range, or looked up among the words of a schema."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from securefl.data.own.arrow import Levels
from securefl.data.own.columns import Column
from securefl.data.own.spelling import BINARY_LEVELS

Codes = NDArray[np.int64]

# The codes of a missing value, and of a word that the schema does not have.
MISSING = -1
UNKNOWN = -2


def scaled(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float64]:
    """Returns numbers in [-1, 1], by the arithmetic of `securefl.data.heart`."""
    low, high = limits
    scaled: NDArray[np.float64] = 2 * (values - low) / (high - low) - 1
    return scaled


def level_codes(column: Column) -> Mapping[str, int]:
    """Returns the code of each declared level of a binary or categorical column."""
    if column.levels is None:
        return BINARY_LEVELS
    return {level: code for code, level in enumerate(column.levels)}


def looked_up(levels: Levels, table: Mapping[str, int]) -> Codes:
    """Returns (rows,) the code of each value, MISSING or UNKNOWN."""
    # A text that is not UTF-8 is None here, and in no table.
    codes = [UNKNOWN if value is None else table.get(value, UNKNOWN) for value in levels.values]
    result: Codes = np.array([*codes, MISSING])[levels.codes]
    return result


def constant_features(column: Column, constant: str) -> NDArray[np.float64]:
    """Returns the features of the constant for missing values, (column.value_features,)."""
    if column.range is not None:
        return scaled(np.array([float(constant)]), column.range)
    code = level_codes(column)[constant]
    if column.levels is None:
        return np.array([float(code)])
    one_hot: NDArray[np.float64] = np.eye(column.value_features)[code]
    return one_hot
