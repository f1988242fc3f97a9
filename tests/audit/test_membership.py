"""Membership attacks as audits run them: those that the knowledge allows, with right gradients."""

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.membership import (
    Question,
    Shadows,
    gradients,
    membership_scores,
    of_answers,
    of_rounds,
)
from securefl.data.task import Examples, Task
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream

TASK = Task(features=6, classes=3)
TWO = Task(features=6, classes=2)
IMAGE = Task(features=64, classes=3, image=(1, 8, 8))
BYTES = Examples(
    torch.randint(
        0, 256, (10, 1, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
    ),
    torch.arange(10) % 3,
)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def records(n: int, classes: int = 3, seed: int = 2) -> Examples:
    drawn = generator(seed)
    return Examples(
        torch.randn(n, 6, generator=drawn), torch.randint(classes, (n,), generator=drawn)
    )


def question(n: int = 90, shadows: Shadows | None = None) -> Question:
    return Question(
        records(n),
        records(40, seed=5),
        mlp(TASK, hidden=(8,), generator=generator()),
        TASK,
        shadows,
    )


def weights(seed: int) -> Tensor:
    return vector.to_vector(mlp(TASK, hidden=(8,), generator=generator(seed)))


@pytest.mark.parametrize(
    ("task", "model", "examples"),
    [
        (TASK, mlp(TASK, hidden=(5,), generator=generator()), records(10)),
        (TWO, logistic(TWO, generator=generator()), records(10, classes=2)),
        (IMAGE, cnn(IMAGE, channels=(4, 4), generator=generator()), BYTES),
    ],
    ids=["three classes", "two classes", "bytes of images"],
)
def test_gradients_are_those_of_one_record_at_a_time(
    task: Task, model: torch.nn.Module, examples: Examples
) -> None:
    asked = Question(examples, examples, model, task, None)
    at = vector.to_vector(model) * 1.5
    found = gradients(
        asked.model, asked.task, Examples(examples.features[2:7], examples.labels[2:7]), at
    )
    assert found.shape == (5, len(at))
    vector.load_vector(model, at)
    for row, place in zip(found, range(2, 7), strict=True):
        model.zero_grad()
        one = slice(place, place + 1)
        task.loss(model(task.inputs(examples.features[one])), examples.labels[one]).backward()  # type: ignore[no-untyped-call]
        by_hand = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        rounding = 1e-6 * max(1.0, float(by_hand.abs().max()))  # of float32, by the largest entry
        assert torch.allclose(row, by_hand, atol=rounding)


def test_losses_and_confidences_are_those_of_the_records_own_label() -> None:
    asked, at = question(), weights(4)
    vector.load_vector(asked.model, at)
    logits = asked.model(asked.examples.features)
    by_hand = torch.nn.functional.cross_entropy(logits, asked.examples.labels, reduction="none")
    assert torch.allclose(asked.losses(at).float(), by_hand, atol=1e-5)
    chances = (-by_hand).exp()
    assert torch.allclose(asked.confidences(at).float(), (chances / (1 - chances)).log(), atol=1e-4)


def names(knowledge: Knowledge, shadows: Shadows | None = None) -> set[str]:
    return set(membership_scores(question(shadows=shadows), knowledge, generator()))


def test_knowledge_decides_which_attacks_are_run() -> None:
    model, moved = weights(1), weights(2) - weights(1)
    answers = {"loss threshold", "label only"}
    assert names(Knowledge((), None, None)) == set()
    assert names(Knowledge((), None, model)) == answers
    seen = (Sight(0, model, None, alone=False),)
    assert names(Knowledge(seen, None, None)) == {"trajectory of the global models"}
    step = (Sight(0, model, moved, alone=False),)
    assert names(Knowledge(step, model, model)) == answers | {
        "trajectory of the global models",
        "alignment with sums or steps",
    }
    own = (Sight(0, model, moved, alone=True),)
    assert names(Knowledge(own, None, None)) == {
        "trajectory of the global models",
        "trajectory of the local models",
        "alignment with its updates",
    }
    blind = (Sight(0, None, moved, alone=True),)
    assert names(Knowledge(blind, None, None)) == set()


def test_shadows_bring_the_attacks_that_compare() -> None:
    inside = torch.arange(4)[:, None] % 2 == torch.arange(90)[None] % 2
    shadows = Shadows(torch.stack([weights(seed) for seed in range(4)]), inside)
    assert names(Knowledge((), None, weights(9)), shadows) == {
        "loss threshold",
        "label only",
        "LiRA",
        "offline LiRA",
        "RMIA",
    }


def test_alignment_is_the_mean_over_rounds_of_every_record() -> None:
    asked = question(150)
    sights = tuple(Sight(at, weights(at), weights(at + 5), alone=True) for at in range(2))
    both = of_rounds(asked, Knowledge(sights, None, None))["alignment with its updates"]
    each = [
        of_rounds(asked, Knowledge((sight,), None, None))["alignment with its updates"]
        for sight in sights
    ]
    assert torch.allclose(both, (each[0] + each[1]) / 2)
    record = Examples(asked.examples.features[140:141], asked.examples.labels[140:141])
    row = gradients(asked.model, asked.task, record, weights(0))[0].double()
    moved = weights(5).double()
    assert float(each[0][140]) == pytest.approx(
        float(-(row @ moved) / row.norm() / moved.norm()), abs=1e-6
    )


def test_running_statistics_are_no_part_of_an_alignment() -> None:
    def network(seed: int) -> nn.Sequential:
        layers = mlp(TASK, hidden=(8,), generator=generator(seed))
        return nn.Sequential(layers[0], nn.BatchNorm1d(8), nn.Dropout(0.5), layers[2])  # type: ignore[index]

    asked = Question(records(20), records(10, seed=5), network(1), TASK, None)
    asked.model.train()
    at, moved = vector.to_vector(network(1)), vector.to_vector(network(2))
    by_record = gradients(asked.model, TASK, asked.examples, at)
    border = vector.statistics(asked.model).start
    assert by_record.shape == (20, border)
    # In evaluation mode, so that no record's gradient depends on the others.
    first = Examples(asked.examples.features[:1], asked.examples.labels[:1])
    assert torch.allclose(gradients(asked.model, TASK, first, at)[0], by_record[0], atol=1e-6)
    changed = torch.cat([moved[:border], moved[border:] + 5])
    one, other = (
        of_rounds(asked, Knowledge((Sight(0, at, update, alone=True),), None, None))
        for update in (moved, changed)
    )
    name = "alignment with its updates"
    assert torch.equal(one[name], other[name])


def test_the_local_model_is_the_global_one_moved() -> None:
    asked, start, moved = question(), weights(1), weights(2) - weights(1)
    found = of_rounds(asked, Knowledge((Sight(0, start, moved, alone=True),), None, None))
    assert torch.allclose(
        found["trajectory of the local models"], -asked.losses(start + moved), atol=1e-5
    )
    assert torch.allclose(found["trajectory of the global models"], -asked.losses(start), atol=1e-6)


def area(scores: Tensor, members: Tensor) -> float:
    return float((scores[members][:, None] > scores[~members][None]).double().mean())


@pytest.mark.parametrize(
    ("attack", "epochs", "site"),
    [("alignment with its updates", 1, 8), ("trajectory of the local models", 60, 40)],
)
def test_the_update_of_a_small_site_reveals_its_members_and_noise_reveals_none(
    attack: str, epochs: int, site: int
) -> None:
    asked, start = question(80), weights(7)
    members = torch.arange(80) < site
    own = Examples(asked.examples.features[members], asked.examples.labels[members])
    shuffle = seeded_keystream(1, "shuffle")
    trainer = SgdTrainer(
        asked.model,
        TASK,
        own,
        client=0,
        batch=40,
        epochs=epochs,
        lr=0.3,
        stream_for=lambda *where: shuffle,
    )
    moved = trainer.fit(start, round=0).delta
    found = of_rounds(asked, Knowledge((Sight(0, start, moved, alone=True),), None, None))
    assert area(found[attack], members) > 0.7
    noise = torch.randn(len(start), generator=generator(3)) * moved.std()
    chance = of_rounds(asked, Knowledge((Sight(0, start, noise, alone=True),), None, None))
    assert abs(area(chance[attack], members) - 0.5) < 3 * 0.11


def test_a_model_that_is_asked_twice_gives_the_same_answers() -> None:
    asked = question()
    found = of_answers(asked, weights(3), generator())
    again = of_answers(asked, weights(3), generator())
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert torch.equal(found["loss threshold"], -asked.losses(weights(3)))
