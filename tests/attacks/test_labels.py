"""Label inference: hand-worked answers, slow oracles, and chance where coordinates are shuffled."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from attacks import counts_from_bias, label_counts, label_of_one
from securefl.data.task import Task
from securefl.learning.models import images, linear

# Means (1, 0) and (-1, 0); within a class both coordinates move together.
REFERENCES = torch.tensor([[2.0, 1.0], [0.0, -1.0], [0.0, 1.0], [-2.0, -1.0]])


LABELS = torch.tensor([0, 0, 1, 1])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def shuffled(values: Tensor, draws: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=draws)]


def last_layer_gradients(
    model: nn.Module, task: Task, record: Tensor, label: int
) -> tuple[Tensor, Tensor]:
    """Of one record's loss: of the weight (c, h) and of the bias (c,)."""
    *_, weight, bias = model.parameters()
    loss = task.loss(model(record[None]), torch.tensor([label]))
    of_weight, of_bias = torch.autograd.grad(loss, [weight, bias])
    return of_weight, of_bias


def right(counts: Tensor, truth: Tensor) -> float:
    return int(torch.minimum(counts, truth).sum()) / int(truth.sum())


def test_label_of_one_known_answer() -> None:
    assert label_of_one(torch.tensor([0.5, -0.7, 0.2])) == 1
    assert [label_of_one(torch.tensor([error])) for error in (-0.3, 0.4)] == [1, 0]
    # With inputs (-1, -2) the sums of rows are lowest at 2 and highest at 1; with (1, 2) the other
    # way round.
    rows = torch.tensor([0.2, -0.7, 0.5])[:, None] * torch.tensor([-1.0, -2.0])
    assert label_of_one(rows) == label_of_one(-rows) == 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_the_label_of_one_record_is_exact_at_any_weights(
    kind: str, classes: int, scale: float
) -> None:
    task = Task(features=64, classes=classes, image=(1, 8, 8))
    draws = generator(classes)
    model = (
        images.cnn(task, channels=(4,), generator=draws)
        if kind == "cnn"
        else linear.mlp(task, generator=draws)
    )
    *_, weight, bias = model.parameters()
    with torch.no_grad():
        weight.mul_(scale)
        bias.mul_(scale)
    for label in range(classes):
        record = torch.rand(1, 8, 8, generator=draws) * 2 - 1
        of_weight, of_bias = last_layer_gradients(model, task, record, label)
        assert label_of_one(of_bias) == label_of_one(3e-7 * of_bias) == label
        if classes > 2:
            assert label_of_one(of_weight) == label_of_one(1e18 * of_weight) == label


def test_a_label_that_the_model_is_sure_of_is_still_inferred() -> None:
    # In float32 p_y rounds to 1: the gradient is 0 there and above it elsewhere.
    for logits in ([30.0, 0.0, 0.0], [0.0, 30.0, 0.0]):
        probabilities = torch.tensor(logits).softmax(dim=0)
        label = int(probabilities.argmax())
        error = probabilities - nn.functional.one_hot(torch.tensor(label), 3)
        assert error[label] == 0.0
        assert label_of_one(error) == label


def test_rows_of_zero_do_not_hide_the_label() -> None:
    rows = torch.tensor([0.0, 0.2, 0.0, -0.5, 0.3])[:, None] * torch.tensor([[0.5, -2.0]])
    assert label_of_one(rows) == 3


@pytest.mark.parametrize(
    ("gradient", "match"),
    [
        ([0.0, 0.0], "label_of_one needs a gradient other than zero, got 2 zeros"),
        (
            [[1.0], [-1.0]],
            "label_of_one needs >= 3 rows of a weight's gradient other than zero, got 2",
        ),
        ([[1.0], [-1.0], [0.0]], "needs >= 3 rows .* got 2"),
        ([0.5, math.nan], "gradient must be finite, got 1"),
        ([[0.5], [0.5], [math.inf]], "gradient must be finite, got 1"),
        ([1, -1], "gradient must be floats"),
        ([], r"gradient must have shape \(any\), got \(0,\)"),
        ([[[1.0]]], r"gradient must have shape \(any, any\)"),
    ],
)
def test_gradients_that_say_nothing_of_a_label_are_refused(
    gradient: list[float], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        label_of_one(torch.tensor(gradient))


def test_counts_from_bias_known_answers() -> None:
    # Shares (1/4, 1/2, 1/4), and with one logit (1/4, 3/4).
    counts = counts_from_bias(torch.tensor([0.25, -0.2, -0.05]), torch.tensor([0.5, 0.3, 0.2]), n=4)
    assert counts.tolist() == [1, 2, 1]
    assert counts.dtype == torch.int64
    assert counts_from_bias(torch.tensor([-0.35]), torch.tensor([0.6, 0.4]), n=4).tolist() == [1, 3]


def test_counts_are_rounded_by_largest_remainder() -> None:
    # 1.2, 1.2 and .6 of 3; 2.5 and .5 of 3, equal remainders: the first.
    assert counts_from_bias(torch.zeros(3), torch.tensor([0.4, 0.4, 0.2]), n=3).tolist() == [
        1,
        1,
        1,
    ]
    assert counts_from_bias(
        torch.zeros(2), torch.tensor([5 / 6, 1 / 6], dtype=torch.float64), n=3
    ).tolist() == [3, 0]
    for classes in range(3, 12):
        even = torch.full((classes,), 1 / classes, dtype=torch.float64)
        assert counts_from_bias(0 * even, even, n=2 * classes + 1).tolist() == [3] + [2] * (
            classes - 1
        )


def test_impossible_shares_give_the_nearest_possible_ones() -> None:
    # (.8, .4, -.2): .1 less each is (.7, .3, 0), where cutting off and dividing gives 67 and 33.
    counts = counts_from_bias(torch.tensor([-0.3, 0.1, 0.2]), torch.tensor([0.5, 0.5, 0.0]), n=100)
    assert counts.tolist() == [70, 30, 0]


@pytest.mark.parametrize(
    ("gradient", "probabilities", "n", "match"),
    [
        ([0.1, 0.2], [0.3, 0.3, 0.4], 3, r"gradient must have shape \(3\), got \(2,\)"),
        ([0.1], [0.3, 0.3, 0.4], 3, r"gradient must have shape \(3\), got \(1,\)"),
        ([0.1, math.inf], [0.5, 0.5], 3, "gradient must be finite, got 1"),
        ([0.1, 0.1], [0.5, math.nan], 3, "probabilities must be finite, got 1"),
        ([0.1, 0.1], [0.5, 0.5], 0, "counts_from_bias needs n >= 1, got n=0"),
    ],
)
def test_biases_that_give_no_counts_are_refused(
    gradient: list[float], probabilities: list[float], n: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        counts_from_bias(torch.tensor(gradient), torch.tensor(probabilities), n=n)


def test_label_counts_known_answer_of_single_records() -> None:
    # .5 (1, 0) + .25 (0, 1) + .25 (-1, -1).
    references = torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    counts = label_counts(
        torch.tensor([0.25, 0.0]), references, torch.tensor([2, 0, 1]), classes=3, n=4
    )
    assert counts.tolist() == [2, 1, 1]
    assert counts.dtype == torch.int64


def test_label_counts_known_answer_with_covariance() -> None:
    # The mix (1, .5) minus (2 s - 1, 0) is (x, .5), x = 2 - 2 s. Residuals are +-(1, 1):
    # R'R = 2 [1 1; 1 1], plus 2 on its diagonal. 4 x^2 - 2 x is least at 1/4: s = 7/8. Without the
    # ridge it would be 3/4, with half of it 5/6, without R 1.
    counts = label_counts(torch.tensor([1.0, 0.5]), REFERENCES, LABELS, classes=2, n=24)
    assert counts.tolist() == [21, 3]
    # A coordinate more: the ridge is over 4 - 2 eigenvalues, not over 4 or all 3.
    wider = torch.cat([REFERENCES, torch.zeros(4, 1)], dim=1)
    assert label_counts(torch.tensor([1.0, 0.5, 0.0]), wider, LABELS, classes=2, n=24).tolist() == [
        21,
        3,
    ]


def test_label_counts_agrees_with_trying_all_counts() -> None:
    # All counts that sum to 60, the full covariance, classes of different sizes. Rounding may move
    # a count by one.
    for seed in range(5):
        labels = torch.tensor([0] * 4 + [1] * 7 + [2] * 12)
        references = (
            normal(23, 6, seed=seed) * torch.linspace(0.2, 2.0, 6).double()
            + normal(3, 6, seed=seed + 50)[labels]
        )
        gradient = references[torch.randint(23, (9,), generator=generator(seed))].mean(dim=0)
        means = torch.stack([references[labels == label].mean(dim=0) for label in range(3)])
        covariance = sum(
            (
                (part := references[labels == label] - means[label]).T @ part / len(part)
                for label in range(3)
            ),
            torch.zeros(6, 6, dtype=torch.float64),
        )
        inverse = torch.linalg.inv(covariance + torch.eye(6).double() * covariance.trace() / 6)
        every = torch.tensor(
            [(a, b, 60 - a - b) for a, b in itertools.product(range(61), repeat=2) if a + b <= 60]
        )
        distances = gradient - every.double() / 60 @ means
        best = every[((distances @ inverse) * distances).sum(dim=1).argmin()]
        counts = label_counts(gradient, references, labels, classes=3, n=60)
        assert int((counts - best).abs().max()) <= 1


def test_label_counts_follows_classes_and_ignores_order_and_scale() -> None:
    labels = torch.arange(30) % 4
    references, gradient = (
        normal(30, 50, seed=1) + 0.5 * normal(4, 50, seed=2)[labels],
        0.3 * normal(50, seed=3),
    )
    counts = label_counts(gradient, references, labels, classes=4, n=1000)
    classes, records, places = (torch.randperm(k, generator=generator(k)) for k in (4, 30, 50))
    moved = label_counts(gradient, references, classes[labels], classes=4, n=1000)
    assert torch.equal(moved[classes], counts)
    assert len(set(counts.tolist())) > 2
    for factor in (1e-6, 1.0, 1e200):
        same = label_counts(
            factor * gradient[places],
            factor * references[records][:, places],
            labels[records],
            classes=4,
            n=1000,
        )
        assert torch.equal(same, counts)


def test_label_counts_does_not_depend_on_copies_of_a_class() -> None:
    labels = torch.arange(30) % 3
    references = normal(30, 5, seed=4) * (1 + labels[:, None]) + normal(3, 5, seed=5)[labels]
    gradient = references[:9].mean(dim=0)
    more = torch.cat([references, references[labels == 2]])
    counts = label_counts(
        gradient, more, torch.cat([labels, labels[labels == 2]]), classes=3, n=1000
    )
    assert torch.equal(counts, label_counts(gradient, references, labels, classes=3, n=1000))
    assert int(counts.min()) > 0


@pytest.mark.parametrize(
    ("gradient", "labels", "classes", "n", "match"),
    [
        ([1.0], LABELS, 2, 3, r"references must have shape \(any, 1\), got \(4, 2\)"),
        ([1.0, math.nan], LABELS, 2, 3, "gradient must be finite, got 1"),
        ([1.0, 1.0], LABELS, 3, 3, r"labels must be all of 0 to 2, classes >= 2, got \[0, 1\]"),
        ([1.0, 1.0], LABELS + 1, 2, 3, r"labels must be all of 0 to 1, classes >= 2, got \[1, 2\]"),
        ([1.0, 1.0], LABELS * 0, 1, 3, r"classes >= 2, got \[0\]"),
        (
            [1.0, 1.0],
            LABELS[:3],
            2,
            3,
            r"labels must be 4 whole numbers \(int64\), got torch.int64 of shape \(3,\)",
        ),
        ([1.0, 1.0], LABELS.float(), 2, 3, "labels must be 4 whole numbers .* got torch.float32"),
        ([1.0, 1.0], LABELS, 2, 0, "label_counts needs n >= 1, got n=0"),
    ],
)
def test_references_that_give_no_counts_are_refused(
    gradient: list[float], labels: Tensor, classes: int, n: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        label_counts(torch.tensor(gradient), REFERENCES, labels, classes=classes, n=n)
    with pytest.raises(ValueError, match="references must be finite, got 8"):
        label_counts(torch.zeros(2), REFERENCES / 0.0 * 0.0, LABELS, classes=2, n=3)


def test_the_label_of_a_shuffled_gradient_is_chance() -> None:
    # 4,000 of chance .1: four standard errors, missed once in 15,000. As they are, all are right.
    draws, hits = generator(12), 0
    labels = torch.randint(10, (4000,), generator=draws)
    errors = torch.randn(4000, 10, generator=draws).softmax(dim=1) - nn.functional.one_hot(
        labels, 10
    )
    assert [label_of_one(error) for error in errors] == labels.tolist()
    for error, label in zip(errors, labels.tolist(), strict=True):
        hits += label_of_one(shuffled(error, draws)) == label
    assert hits / 4000 == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 4000))


def test_the_counts_of_shuffled_gradients_are_no_better_than_equal_counts() -> None:
    # 200 batches of 32 over 5 classes; the share that is right has a deviation below .2: four
    # standard errors are below .06.
    draws = generator(13)
    weights = torch.randn(5, 8, generator=draws, dtype=torch.float64) / 4
    centers = torch.randn(5, 8, generator=draws, dtype=torch.float64)

    def gradients_of(labels: Tensor) -> tuple[Tensor, Tensor]:
        inputs = centers[labels] + torch.randn(len(labels), 8, generator=draws, dtype=torch.float64)
        probabilities = (inputs @ weights.T).softmax(dim=1)
        errors = probabilities - nn.functional.one_hot(labels, 5)
        inputs = torch.cat([inputs, inputs.new_ones(len(labels), 1)], dim=1)
        return (errors[:, :, None] * inputs[:, None]).flatten(1), probabilities.mean(dim=0)

    mine = torch.arange(200) % 5
    references, probabilities = gradients_of(mine)
    scores = []
    for _ in range(200):
        shares = -torch.rand(5, generator=draws).log()
        labels = torch.multinomial(shares, 32, replacement=True, generator=draws)
        truth, gradient = torch.bincount(labels, minlength=5), gradients_of(labels)[0].mean(dim=0)
        mixed = shuffled(gradient, draws)
        bias, mixed_bias = (values.view(5, 9)[:, -1] for values in (gradient, mixed))
        counts = (
            label_counts(gradient, references, mine, classes=5, n=32),
            counts_from_bias(bias, probabilities, n=32),
            label_counts(mixed, references, mine, classes=5, n=32),
            counts_from_bias(mixed_bias, probabilities, n=32),
            torch.tensor([7, 7, 6, 6, 6]),
        )
        scores.append([right(counts, truth) for counts in counts])
    full, bias_only, full_mixed, bias_mixed, equal = torch.tensor(scores).mean(dim=0).tolist()
    assert full > 0.9
    assert full > bias_only > 0.8
    assert full_mixed < equal + 0.06
    assert bias_mixed < equal + 0.06
