"""Answers of ByzFL for tests/attacks/test_peers.py, made once in an environment of its own.

    .venv-peers/bin/python tests/vectors/peers_of_attacks.py > tests/vectors/peers_of_attacks.json

ByzFL imports torchvision for its benchmarks, and torchvision does not import with a CPU build of
torch. An empty module takes its place.
"""

import json
import sys
from importlib.metadata import version
from types import ModuleType

import numpy as np

sys.modules["byzfl.benchmark"] = ModuleType("byzfl.benchmark")
import byzfl  # noqa: E402

ATTACKS = {
    "SignFlipping": byzfl.SignFlipping(),
    "InnerProductManipulation, tau .5": byzfl.InnerProductManipulation(tau=0.5),
    "ALittleIsEnough, tau 1.5": byzfl.ALittleIsEnough(tau=1.5),
}

if __name__ == "__main__":
    draw = np.random.default_rng(20261121)
    tables = {
        "heavy tails": draw.standard_t(1.5, size=(7, 6)).round(6),
        "ties": draw.integers(-2, 3, size=(7, 6)).astype(float),
        "one row": draw.normal(size=(1, 6)).round(6),
    }
    answers = {
        name: {
            attack: function(rows).tolist()
            for attack, function in ATTACKS.items()
            if len(rows) > 1 or "ALittle" not in attack
        }
        for name, rows in tables.items()
    }
    tables_told = {name: rows.tolist() for name, rows in tables.items()}
    print(
        json.dumps({"byzfl": version("byzfl"), "rows": tables_told, "answers": answers}, indent=1)
    )
