"""Poisoned records: hand-worked answers, and which clients of a federation train on them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from attacks import (
    anchored,
    backdoor,
    backdoor_goal,
    boosted,
    distributed_backdoor,
    flip_goal,
    label_flip,
    targeted_label_flip,
    triggered,
)
from securefl.errors import ScenarioError
from securefl.runs import api
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.parts import parts
from securefl.scenario.making.adversary import adversary_of, poisoned
from securefl.scenario.scenario import parse_scenario
from tests.values import present

FEATURES = torch.arange(8.0).reshape(4, 2)


def test_label_flip_known_answers() -> None:
    features, labels = label_flip(FEATURES, torch.tensor([0, 3, 9, 5]), classes=10)
    assert labels.tolist() == [9, 6, 0, 4]
    assert torch.equal(features, FEATURES)
    assert label_flip(FEATURES, torch.tensor([0, 1, 1, 0]), classes=2)[1].tolist() == [1, 0, 0, 1]
    several = torch.tensor([[0, 1, 1], [0, 0, 0]])
    assert label_flip(FEATURES[:2], several, classes=3)[1].tolist() == [[1, 0, 0], [1, 1, 1]]


def test_targeted_label_flip_known_answer() -> None:
    before = torch.tensor([0, 3, 3, 5])
    features, labels = targeted_label_flip(FEATURES, before, classes=10, source=3, target=5)
    assert labels.tolist() == [0, 5, 5, 5]
    assert before.tolist() == [0, 3, 3, 5]
    assert torch.equal(features, FEATURES)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (10, 1, "needs source in 0 to 9, got source=10"),
        (1, -1, "needs target in 0 to 9, got target=-1"),
        (4, 4, "needs a target other than its source, got 4 for both"),
    ],
)
def test_numbers_that_are_no_class_are_refused(source: int, target: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        targeted_label_flip(
            FEATURES, torch.zeros(4).long(), classes=10, source=source, target=target
        )


def test_records_of_several_labels_and_a_single_class_are_refused() -> None:
    with pytest.raises(ValueError, match="needs records of one label each"):
        targeted_label_flip(FEATURES, torch.zeros(4, 3).long(), classes=3, source=0, target=1)
    with pytest.raises(ValueError, match="labels are flipped among classes >= 2, got 1"):
        label_flip(FEATURES, torch.zeros(4).long(), classes=1)


def test_only_the_corrupt_clients_train_on_poisoned_records() -> None:
    text = """
        data = { name = "digits", clients = 5 }
        training = { kind = "sgd" }
        attack = { name = "label_flip", clients = [1, 3] }
    """
    scenario = parse_scenario(text)
    clean = load_data(scenario)
    after = poisoned(scenario, scenario.facts, clean)
    assert torch.equal(after.test.labels, clean.test.labels)
    for index, (site, honest) in enumerate(zip(after.sites, clean.sites, strict=True)):
        assert torch.equal(site.train.features, honest.train.features)
        flipped = 9 - honest.train.labels
        assert torch.equal(site.train.labels, flipped if index in (1, 3) else honest.train.labels)
    honest_rows = torch.ones(2, 3)
    assert torch.equal(
        adversary_of(scenario, scenario.facts, lambda rows, weights: rows[0], None).attack(
            honest_rows, honest_rows, 0
        ),
        honest_rows,
    )


# --- triggers


def drawing(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_trigger_is_a_bright_square_in_the_last_corner_of_every_channel() -> None:
    colour = triggered(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8), size=2)
    assert colour.dtype == torch.uint8
    assert colour[1, 2].tolist() == [[7, 7, 7, 7], [7, 7, 7, 7], [7, 7, 255, 255], [7, 7, 255, 255]]
    assert torch.equal(colour[0, 0], colour[1, 2])
    assert triggered(torch.zeros(1, 1, 3, 3, 3), size=2)[0, 0].sum() == 8
    assert triggered(torch.zeros(1, 5), size=2).tolist() == [[0, 0, 0, 1, 1]]
    for size in (0, 6):
        with pytest.raises(ValueError, match=f"a trigger needs size from 1 to 5, got {size}"):
            triggered(torch.zeros(1, 5), size=size)


def test_the_parts_of_a_trigger_make_the_whole_and_share_nothing() -> None:
    blank = torch.zeros(1, 1, 6, 6)
    parts = [triggered(blank, size=3, part=(place, 4)) for place in range(4)]
    assert [int(part.sum()) for part in parts] == [3, 2, 2, 2]
    assert torch.equal(torch.stack(parts).sum(dim=0), triggered(blank, size=3))
    with pytest.raises(
        ValueError, match="a trigger of 3 pixels has no part for each of 4 clients: raise size"
    ):
        triggered(torch.zeros(1, 5), size=3, part=(0, 4))


@pytest.mark.parametrize(("share", "poisoned"), [(0.25, 25), (0.5, 50), (1.0, 100), (0.004, 0)])
def test_exactly_the_share_of_the_records_bears_the_trigger(share: float, poisoned: int) -> None:
    features, labels = torch.zeros(100, 1, 5, 5), torch.arange(100) % 10
    after, labels_after = backdoor(
        features, labels, classes=10, target=3, generator=drawing(), share=share, size=2
    )
    marked = after.flatten(1).sum(dim=1) == 4
    assert int(marked.sum()) == poisoned
    assert (labels_after[marked] == 3).all()
    assert torch.equal(labels_after[~marked], labels[~marked])
    assert not after[~marked].any()
    assert not features.any()
    assert torch.equal(labels, torch.arange(100) % 10)


def test_the_poisoned_records_are_drawn_at_random() -> None:
    features, labels = torch.zeros(100, 5), torch.zeros(100).long()
    first, again, other = (
        backdoor(features, labels, classes=2, target=1, generator=drawing(seed))[1]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not first[:50].all()


def test_a_distributed_backdoor_stamps_its_own_part() -> None:
    after, labels_after = distributed_backdoor(
        torch.zeros(4, 1, 4, 4),
        torch.zeros(4).long(),
        classes=2,
        target=1,
        generator=drawing(),
        part=(1, 4),
        size=2,
    )
    assert after.flatten(1).sum(dim=1).sort().values.tolist() == [0, 0, 1, 1]
    assert labels_after.sum() == 2
    assert after[:, 0, 2, 3].sum() == 2


def test_goals_leave_out_records_that_prove_nothing() -> None:
    features, labels = torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 2, 1])
    stamped, target = backdoor_goal(features, labels, target=1, size=1)
    assert (stamped.tolist(), target) == ([[0, 1], [4, 1]], 1)
    tested, target = flip_goal(features, labels, source=1, target=2)
    assert (tested.tolist(), target) == ([[2, 3], [6, 7]], 2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"target": 10}, "a backdoor needs target in 0 to 9, got target=10"),
        ({"share": 0.0}, r"a backdoor needs share in \(0, 1\], got share=0.0"),
        ({"share": 1.5}, r"a backdoor needs share in \(0, 1\], got share=1.5"),
        ({"size": 9}, "a trigger needs size from 1 to 5, got 9"),
    ],
)
def test_a_backdoor_with_impossible_parameters_is_refused(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        backdoor(
            torch.zeros(4, 1, 5, 5),
            torch.zeros(4).long(),
            generator=drawing(),
            **{"classes": 10, "target": 1, **given},
        )
    with pytest.raises(ValueError, match="a backdoor needs records of one label each"):
        backdoor(
            torch.zeros(4, 1, 5, 5), torch.zeros(4, 3), classes=3, target=1, generator=drawing()
        )


def test_boosted_known_answer() -> None:
    rows = torch.tensor([[1.0, -2.0]])
    assert boosted(rows, boost=5.0).tolist() == [[5.0, -10.0]]
    with pytest.raises(ValueError, match="boosted needs boost finite and > 0, got boost=0"):
        boosted(rows, boost=0.0)


def test_anchored_known_answer() -> None:
    # Of 0.5 x 3 x (2^2 + 1^2): 3 x (2, -1).
    assert anchored(torch.tensor([1.0, 1.0]), torch.tensor([2.0, -1.0]), anchor=3.0).tolist() == [
        7.0,
        -2.0,
    ]
    with pytest.raises(ValueError, match="anchored needs anchor finite and > 0, got anchor=0"):
        anchored(torch.ones(1), torch.ones(1), anchor=0.0)


SCALED = """
rounds = 4
weights = "equal"
data = { name = "digits", clients = 5 }
training = { kind = "sgd", batch = 16, lr = 0.3, epochs = 3 }
attack = { name = "constrain_and_scale", clients = [1], target = 7, boost = 1.0, anchor = 2.0 }
"""


def test_constrained_clients_stay_nearer_to_the_global_model_and_honest_ones_train_as_ever(
    tmp_path: Path,
) -> None:
    scenario = parse_scenario(SCALED)
    free = parse_scenario(
        SCALED.replace('"constrain_and_scale"', '"backdoor"').replace(
            ", boost = 1.0, anchor = 2.0", ""
        )
    )
    lengths = {}
    for name, declared in (("constrained", scenario), ("free", free)):
        assembled = assemble(declared, run="x", ledgers=tmp_path / "none")
        trainers = parts(declared, run="x", ledgers=tmp_path / "none").trainers.values()
        lengths[name] = [
            float(trainer.fit(assembled.start.weights, round=0).delta.norm())
            for trainer in trainers
        ]
    assert lengths["constrained"][1] < 0.8 * lengths["free"][1]
    assert lengths["constrained"][0] == lengths["free"][0]
    assert lengths["constrained"][2:] == lengths["free"][2:]


def test_constrain_and_scale_needs_plain_sgd() -> None:
    with pytest.raises(
        ScenarioError,
        match=r"constrain_and_scale trains in its own way: use training\.kind = 'sgd'",
    ):
        parse_scenario(SCALED.replace('kind = "sgd"', 'kind = "dp_sgd"'))
    with pytest.raises(
        ScenarioError, match="attack: anchored needs anchor finite and > 0, got anchor=0"
    ):
        parse_scenario(SCALED.replace("anchor = 2.0", "anchor = 0.0"))


def test_model_replacement_plants_a_backdoor_in_fedavg_and_the_median_keeps_it_out(
    tmp_path: Path,
) -> None:
    text = """
        rounds = 25
        weights = "equal"
        data = { name = "digits", clients = 10 }
        model = { name = "mlp", hidden = [32] }
        training = { kind = "sgd", batch = 16, lr = 0.3 }
    """
    attack = '\nattack = { name = "model_replacement", clients = [0], target = 7, boost = 10.0 }\n'
    reached = {}
    for rule in ("mean", "median"):
        defended = f'{text}defense.rule = "{rule}"\n'
        reached[rule] = api.run(parse_scenario(defended + attack), tmp_path / rule)
    assert present(reached["mean"]["attack_success"]) > 0.9
    assert present(reached["mean"]["accuracy"]) > 0.8
    assert present(reached["median"]["attack_success"]) < 0.2
    clean = api.run(parse_scenario(text), tmp_path / "clean")
    assert "attack_success" not in clean
