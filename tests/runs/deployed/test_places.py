"""Noise of whole sums between sites: the same model as a simulation, and the same ledgers."""

from pathlib import Path

import pytest
import torch

from securefl.errors import ScenarioError
from securefl.federation import engine
from securefl.privacy.past import past_of
from securefl.runs.deployed.deployable import check_deployable
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import MASKED, deployment

SUMS = """
seed = 1
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "clipped_gradient", lr = 1.0, momentum = 0.5, ema = 0.8 }
privacy = { epsilon = 8.0, noise = "seeded", place = "PLACE", records = [200, 173, 31, 86] }
"""


@pytest.mark.parametrize("place", ["local", "distributed"])
def test_sites_train_and_pay_as_a_simulation_does(place: str, tmp_path: Path) -> None:
    text = SUMS.replace("PLACE", place) + MASKED
    parties = deployment(text, tmp_path / "sites")
    after = parties.play()
    run = parties.charter.run
    simulated = assemble(parse_scenario(text), run=run, ledgers=tmp_path / "simulated")
    *_, last = engine.run(simulated.federation, simulated.start, rounds=2)
    assert torch.equal(after.weights, last.state.weights)
    assert set(after.step_state) == {"velocity", "iterate"}
    for site in range(4):
        (ledger,) = (tmp_path / "sites").glob(f"**/{site}.jsonl")
        assert past_of(ledger).events == past_of(tmp_path / f"simulated/{site}.jsonl").events


def test_central_noise_between_sites_is_refused() -> None:
    scenario = parse_scenario(SUMS.replace("PLACE", "central") + MASKED)
    with pytest.raises(ScenarioError, match="between sites, use 'distributed' or 'local'"):
        check_deployable(scenario)
