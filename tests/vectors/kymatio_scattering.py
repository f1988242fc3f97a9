"""Answers of Kymatio for tests/learning/scattering/test_transform.py, in an environment of its own.

    pip install --target kymatio --no-deps kymatio==0.3.0 configparser
    PYTHONPATH=kymatio python tests/vectors/kymatio_scattering.py > kymatio_scattering.json

Its 2-D module only: the 3-D one asks scipy for functions that newer versions do not have. Of each
map there are the mean and the values along the diagonal.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from kymatio.scattering2d.frontend.numpy_frontend import ScatteringNumPy2D

CASES = ((2, 8, 28, 28), (3, 4, 32, 40), (1, 6, 21, 18), (2, 5, 9, 12))  # J, L, height, width


def image(height: int, width: int) -> np.ndarray:
    """Returns waves of growing frequency under a slope; no symmetry, and no value twice."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves: np.ndarray = np.sin(0.02 * x**2 + 0.4 * y) + 0.5 * np.cos(0.7 * x - 0.03 * y**2)
    waves += 0.01 * (x + 2 * y)
    return waves


answers = []
for scales, angles, height, width in CASES:
    maps = ScatteringNumPy2D(J=scales, shape=(height, width), L=angles)(image(height, width))
    places = range(min(maps.shape[1:]))
    answers.append(
        {
            "scales": scales,
            "angles": angles,
            "image": [height, width],
            "maps": list(maps.shape),
            "means": maps.mean(axis=(1, 2)).round(8).tolist(),
            "diagonals": maps[:, places, places].round(8).tolist(),
        }
    )
json.dump({"kymatio": version("kymatio"), "answers": answers}, sys.stdout)
