"""Rules and pre-filters in whole runs: every rule of the catalog plays, and liars lose."""

from pathlib import Path

import pytest
import torch

from securefl.runs.api import run
from securefl.scenario import catalog
from securefl.scenario.chosen import Chosen
from securefl.scenario.making.rule import make_rule
from securefl.scenario.scenario import make_scenario, parse_scenario
from tests.values import present

DIGITS = """
rounds = 4
weights = "equal"
data = { name = "digits", partition = "iid", clients = 11 }
training = { kind = "sgd", batch = 16, epochs = 1, lr = 0.3 }
attack = { name = "sign_flip", scale = 5.0, clients = [3, 7] }
"""
PARAMETERS = {
    "median": "",
    "trimmed_mean": "f = 2",
    "meamed": "f = 2",
    "krum": "f = 2",
    "multi_krum": "f = 2, m = 5",
    "bulyan": "f = 2",
    "geometric_median": "",
    "centered_clipping": "radius = 0.5",
    "mda": "f = 2",
    "dnc": "f = 2",
}


def accuracy(folder: Path, defense: str) -> float:
    scenario = parse_scenario(f"{DIGITS}defense = {{ {defense} }}\n")
    assert make_scenario(scenario.resolved()).resolved() == scenario.resolved()
    return present(run(scenario, folder).metrics["accuracy"])


def test_every_rule_of_the_catalog_is_played_here() -> None:
    of_servers = {name for name, entry in catalog.RULES.items() if not entry.for_peers_only}
    assert {"mean", *PARAMETERS} == of_servers


@pytest.mark.parametrize("rule", PARAMETERS)
def test_two_liars_of_eleven_do_not_stop_a_robust_rule(rule: str, tmp_path: Path) -> None:
    keys = [f'name = "{rule}"', *filter(None, [PARAMETERS[rule]])]
    assert accuracy(tmp_path / "run", f"rule = {{ {', '.join(keys)} }}") > 0.7


def test_two_liars_stop_the_mean_unless_a_prefilter_clips_or_mixes_their_rows(
    tmp_path: Path,
) -> None:
    assert accuracy(tmp_path / "mean", 'rule = "mean"') < 0.5
    clipped = 'prefilters = [{ name = "adaptive_clipping", f = 2 }], rule = "mean"'
    assert accuracy(tmp_path / "clipped", clipped) > 0.8
    mixed = (
        'prefilters = [{ name = "clip_norms", radius = 1.0 }, '
        '{ name = "nearest_neighbor_mixing", f = 2 }]'
    )
    assert accuracy(tmp_path / "mixed", f'{mixed}, rule = {{ name = "krum", f = 2 }}') > 0.8


def test_prefilters_are_applied_in_their_order() -> None:
    rows = torch.tensor([[9.0], [1.0], [2.0], [-1.0], [0.0]])
    weights = torch.arange(1.0, 6.0)
    filters = catalog.PREFILTERS
    clip = Chosen("clip_norms", filters["clip_norms"], {"radius": 3.0})
    mixing = "nearest_neighbor_mixing"
    mix = Chosen(mixing, filters[mixing], {"f": 2})
    mean = Chosen("mean", catalog.RULES["mean"])
    clipped_first = make_rule(mean, (clip, mix))(rows, weights)
    mixed_first = make_rule(mean, (mix, clip))(rows, weights)
    # Known answer, by hand. Clipped first: 3 1 2 -1 0, whose means of three are 2 1 2 0 0.
    # Mixed first: 4 1 1 0 0, of which the first is clipped to 3.
    assert clipped_first.item() == pytest.approx((2 + 1 + 2 + 0 + 0) / 5)
    assert mixed_first.item() == pytest.approx((3 + 1 + 1 + 0 + 0) / 5)


def test_weights_do_not_count_after_a_prefilter(tmp_path: Path) -> None:
    honest = DIGITS.rpartition("attack")[0].replace('"iid"', '"quantity", alpha = 0.3')
    idle_filter = 'defense = { prefilters = [{ name = "clip_norms", radius = 1e6 }] }\n'

    def score(weights: str, defense: str) -> float | None:
        text = (honest + defense).replace('"equal"', f'"{weights}"')
        return run(parse_scenario(text), tmp_path / f"{weights}{bool(defense)}").metrics["accuracy"]

    filtered = score("reported", idle_filter)
    assert filtered == score("equal", idle_filter) == score("equal", "")
    assert filtered != score("reported", "")
