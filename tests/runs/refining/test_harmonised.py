"""Later versions keep data.harmonise, for the records that train and for those that judge."""

from pathlib import Path

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked, new_records
from securefl.runs.refining.refine import refine
from tests.runs.refining.conftest import play
from tests.runs.refining.test_own_records import series


def images(folder: Path, name: str, *, seed: int) -> None:
    """Writes images that are bright on the left or on the right, with unlike gains."""
    random = np.random.default_rng(seed)
    labels = np.arange(80) % 2
    pixels = np.where(
        np.arange(4)[None, None] < 2, 1 - labels[:, None, None], labels[:, None, None]
    )
    levels = random.integers(100, 130, size=(80, 1, 1))
    values = levels + 10 * pixels + random.integers(-2, 3, size=(80, 4, 4))
    sites = np.repeat(["bern", "chur"], 40)
    np.savez(
        folder / f"{name}.npz",
        train_images=values.astype(np.uint8),
        train_labels=labels,
        train_sites=sites,
    )


HARMONISED = """
rounds = 4
training = { kind = "sgd", lr = 0.5, batch = 8 }
model = { name = "logistic" }

[data]
name = "arrays"
path = "one.npz"
partition = "natural"
test_share = 0.3
harmonise = ["zscore"]
"""


def test_validation_records_go_through_the_steps_of_the_model(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two", "public")):
        images(tmp_path, name, seed=seed)
    file = tmp_path / "public.toml"
    table = 'name = "arrays"\npath = "public.npz"\npartition = "natural"\ntest_share = 0.5\n'
    made = series(tmp_path, HARMONISED)
    gate = parse_gate("accuracy >= 0.9")
    new = {"path": str(tmp_path / "two.npz")}
    for steps in ('["window"]', '[{ name = "zscore", clip = 2.0 }]'):
        steps = steps.replace('"window"', '{ name = "window", low = 0, high = 99 }')
        file.write_text(f"[data]\n{table}harmonise = {steps}\n")
        with pytest.raises(ScenarioError, match=r"its data\.harmonise has other steps than"):
            refine(made, Asked(new, (), gate, new_records(file)), play)
    file.write_text(f"[data]\n{table}")
    outcome = refine(made, Asked(new, (), gate, new_records(file)), play)
    # Without the steps all images have nearly the same answer: the gate would refuse the version.
    assert outcome.judged["new"]["accuracy"] > 0.9
    assert outcome.decision.kind == "released"
    file.write_text(f'[data]\n{table}harmonise = ["zscore"]\n')
    named = refine(made, Asked(new, ("seed=1",), gate, new_records(file)), play)
    assert named.decision.kind == "released"


def test_new_records_go_through_the_steps_of_the_model(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        images(tmp_path, name, seed=seed)
    made = series(tmp_path, HARMONISED)
    new = {"path": str(tmp_path / "two.npz")}
    other = {"harmonise": [{"name": "zscore", "clip": 2.0}]}
    with pytest.raises(ScenarioError, match=r"has data\.harmonise = .*they must be equal"):
        refine(made, Asked({**new, **other}), play)
    for text in ("data.harmonise=", ' data . harmonise=["zscore"]', "data={}"):
        with pytest.raises(ScenarioError, match="securefl refine fills it in, or --data says it"):
            refine(made, Asked(new, (text,)), play)
    refine(made, Asked(new), play)
    assert made.cell(2).scenario["data"]["harmonise"] == made.cell(1).scenario["data"]["harmonise"]
