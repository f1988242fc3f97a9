"""Labels, properties and sources: hand-worked answers, slow oracles, and chance where coordinates are shuffled.

Mutants killed:
label_of_one: the largest, or the largest of size; the logit's sign; rows' sums, or the row along the others; the place
among rows that are not zero; two rows enough; zero accepted.
counts: p + g; the logit's classes swapped; the smallest remainder first, one unit short, equal remainders by rounding;
weights not over their sum, no row of ones; n or classes unchecked.
label_counts: sums for means; the gradient forgotten; no covariance; a class weighed by its size, or by one over it;
degrees of freedom k; eigenvalues for their roots; eigenvectors transposed.
Shared: half the ridge or none; over degrees or coordinates alone; what is explained added; its scale; no scaling.
property_inference: sides swapped; one side's mean for halfway; residuals about one mean; degrees k or k - 1; shadows
that agree, or of one side, accepted. source_inference: the highest; the last round; the median; one client.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from attacks import (
    counts_from_bias,
    label_counts,
    label_of_one,
    property_inference,
    source_inference,
)
from securefl.data.task import Task
from securefl.learning.models import images, linear

# Means (1, 0) and (-1, 0); within a class both coordinates move together.
KNOWN = torch.tensor([[2.0, 1.0], [0.0, -1.0], [0.0, 1.0], [-2.0, -1.0]])
LABELS = torch.tensor([0, 0, 1, 1])
SIDES = torch.tensor([True, True, False, False])


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


def right(found: Tensor, truth: Tensor) -> float:
    return int(torch.minimum(found, truth).sum()) / int(truth.sum())


# --- the label of one record


def test_label_of_one_known_answer() -> None:
    assert label_of_one(torch.tensor([0.5, -0.7, 0.2])) == 1
    assert [label_of_one(torch.tensor([error])) for error in (-0.3, 0.4)] == [1, 0]
    # Inputs (-1, -2): rows' sums have their lowest at 2, their highest at 1; with inputs (1, 2) the other way round.
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


def test_a_label_that_the_model_is_sure_of_is_still_told() -> None:
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
def test_gradients_that_tell_no_label_are_refused(gradient: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        label_of_one(torch.tensor(gradient))


# --- counts from the bias


def test_counts_from_bias_known_answers() -> None:
    # Shares (1/4, 1/2, 1/4), and with one logit (1/4, 3/4).
    found = counts_from_bias(torch.tensor([0.25, -0.2, -0.05]), torch.tensor([0.5, 0.3, 0.2]), n=4)
    assert found.tolist() == [1, 2, 1]
    assert found.dtype == torch.int64
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


def test_shares_that_are_none_give_the_nearest_that_are() -> None:
    # (.8, .4, -.2): .1 less each is (.7, .3, 0), where cutting off and dividing gives 67 and 33.
    found = counts_from_bias(torch.tensor([-0.3, 0.1, 0.2]), torch.tensor([0.5, 0.5, 0.0]), n=100)
    assert found.tolist() == [70, 30, 0]


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
def test_what_no_counts_can_be_told_from_is_refused(
    gradient: list[float], probabilities: list[float], n: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        counts_from_bias(torch.tensor(gradient), torch.tensor(probabilities), n=n)


# --- counts from known records


def test_label_counts_known_answer_of_single_records() -> None:
    # .5 (1, 0) + .25 (0, 1) + .25 (-1, -1).
    known = torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    found = label_counts(torch.tensor([0.25, 0.0]), known, torch.tensor([2, 0, 1]), classes=3, n=4)
    assert found.tolist() == [2, 1, 1]
    assert found.dtype == torch.int64


def test_label_counts_known_answer_with_covariance() -> None:
    # The mix (1, .5) less (2 s - 1, 0) is (x, .5), x = 2 - 2 s. Residuals +-(1, 1): R'R = 2 [1 1; 1 1] and 2 to its
    # diagonal. 4 x^2 - 2 x is least at 1/4: s = 7/8. Without the ridge 3/4, with half of it 5/6, without R 1.
    found = label_counts(torch.tensor([1.0, 0.5]), KNOWN, LABELS, classes=2, n=24)
    assert found.tolist() == [21, 3]
    # A coordinate more: the ridge is over 4 - 2 eigenvalues, not over 4 or all 3.
    wider = torch.cat([KNOWN, torch.zeros(4, 1)], dim=1)
    assert label_counts(torch.tensor([1.0, 0.5, 0.0]), wider, LABELS, classes=2, n=24).tolist() == [
        21,
        3,
    ]


def test_label_counts_finds_what_the_slow_way_finds() -> None:
    # All counts of 60, the covariance in full, classes of unlike size; rounding moves a count by one.
    for seed in range(5):
        labels = torch.tensor([0] * 4 + [1] * 7 + [2] * 12)
        known = (
            normal(23, 6, seed=seed) * torch.linspace(0.2, 2.0, 6).double()
            + normal(3, 6, seed=seed + 50)[labels]
        )
        gradient = known[torch.randint(23, (9,), generator=generator(seed))].mean(dim=0)
        means = torch.stack([known[labels == label].mean(dim=0) for label in range(3)])
        covariance = sum(
            (
                (part := known[labels == label] - means[label]).T @ part / len(part)
                for label in range(3)
            ),
            torch.zeros(6, 6, dtype=torch.float64),
        )
        inverse = torch.linalg.inv(covariance + torch.eye(6).double() * covariance.trace() / 6)
        every = torch.tensor(
            [(a, b, 60 - a - b) for a, b in itertools.product(range(61), repeat=2) if a + b <= 60]
        )
        left = gradient - every.double() / 60 @ means
        best = every[((left @ inverse) * left).sum(dim=1).argmin()]
        found = label_counts(gradient, known, labels, classes=3, n=60)
        assert int((found - best).abs().max()) <= 1


def test_label_counts_follows_classes_and_does_not_mind_records_coordinates_or_scale() -> None:
    labels = torch.arange(30) % 4
    known, gradient = (
        normal(30, 50, seed=1) + 0.5 * normal(4, 50, seed=2)[labels],
        0.3 * normal(50, seed=3),
    )
    found = label_counts(gradient, known, labels, classes=4, n=1000)
    classes, records, places = (torch.randperm(k, generator=generator(k)) for k in (4, 30, 50))
    moved = label_counts(gradient, known, classes[labels], classes=4, n=1000)
    assert torch.equal(moved[classes], found)
    assert len(set(found.tolist())) > 2
    for factor in (1e-6, 1.0, 1e200):
        same = label_counts(
            factor * gradient[places],
            factor * known[records][:, places],
            labels[records],
            classes=4,
            n=1000,
        )
        assert torch.equal(same, found)


def test_label_counts_does_not_mind_copies_of_a_class() -> None:
    labels = torch.arange(30) % 3
    known = normal(30, 5, seed=4) * (1 + labels[:, None]) + normal(3, 5, seed=5)[labels]
    gradient = known[:9].mean(dim=0)
    more = torch.cat([known, known[labels == 2]])
    found = label_counts(
        gradient, more, torch.cat([labels, labels[labels == 2]]), classes=3, n=1000
    )
    assert torch.equal(found, label_counts(gradient, known, labels, classes=3, n=1000))
    assert int(found.min()) > 0


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
def test_records_that_no_counts_can_be_told_with_are_refused(
    gradient: list[float], labels: Tensor, classes: int, n: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        label_counts(torch.tensor(gradient), KNOWN, labels, classes=classes, n=n)
    with pytest.raises(ValueError, match="references must be finite, got 8"):
        label_counts(torch.zeros(2), KNOWN / 0.0 * 0.0, LABELS, classes=2, n=3)


# --- a property


def test_property_inference_known_answers() -> None:
    # With 3, 5, without 1, -1: R'R = 4, as much added, over 2 degrees of freedom: variance 4. At 3, (4 / 4) (3 - 2).
    shadows = torch.tensor([[3.0], [5.0], [1.0], [-1.0]])
    assert property_inference(torch.tensor([3.0]), shadows, SIDES) == pytest.approx(1.0)
    assert property_inference(torch.tensor([2.0]), shadows, SIDES) == pytest.approx(0.0)
    # Residuals (0, +-1): R'R = (0, 4), 2 added, 2 degrees: variances 1, 3. At (.5, 9): 2 / 1 * .5, less nothing.
    shadows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert property_inference(torch.tensor([0.5, 9.0]), shadows, SIDES) == pytest.approx(1.0)


@pytest.mark.parametrize("d", [4, 30])
def test_property_inference_scores_as_the_covariance_in_full(d: int) -> None:
    shadows, has, update = normal(12, d, seed=d), torch.arange(12) % 3 == 0, normal(d, seed=9)
    means = shadows[has].mean(dim=0), shadows[~has].mean(dim=0)
    residuals = shadows - torch.where(has[:, None], *means)
    squares = residuals.T @ residuals
    covariance = (squares + torch.eye(d).double() * squares.trace() / min(10, d)) / 10
    expected = (
        (means[0] - means[1]) @ torch.linalg.inv(covariance) @ (update - (means[0] + means[1]) / 2)
    )
    assert property_inference(update, shadows, has) == pytest.approx(float(expected), rel=1e-9)


def test_property_inference_minds_neither_order_scale_nor_shift_and_turns_with_the_property() -> (
    None
):
    shadows, has, update = normal(12, 30, seed=6), torch.arange(12) % 2 == 0, normal(30, seed=7)
    found = property_inference(update, shadows, has)
    rows, places = (
        torch.randperm(12, generator=generator(1)),
        torch.randperm(30, generator=generator(2)),
    )
    assert property_inference(update[places], shadows[rows][:, places], has[rows]) == pytest.approx(
        found
    )
    assert property_inference(update, shadows, ~has) == pytest.approx(-found)
    shift = normal(30, seed=8)
    assert property_inference(update + shift, shadows + shift, has) == pytest.approx(found)
    for factor in (1e-200, 1e200):
        assert property_inference(factor * update, factor * shadows, has) == pytest.approx(found)


@pytest.mark.parametrize(
    ("update", "has", "match"),
    [
        (torch.zeros(3), SIDES, r"shadows must have shape \(any, 3\), got \(4, 2\)"),
        (torch.tensor([0.0, math.inf]), SIDES, "update must be finite, got 1"),
        (torch.zeros(2), SIDES.long(), r"has must be 4 truth values, got torch.int64"),
        (torch.zeros(2), SIDES[:2], r"has must be 4 truth values, got torch.bool of shape \(2,\)"),
        (torch.zeros(2), SIDES | True, "needs shadows with and without the property, got 4 of 4"),
        (torch.zeros(2), SIDES & False, "needs shadows with and without the property, got 0 of 4"),
    ],
)
def test_shadows_that_tell_no_property_are_refused(update: Tensor, has: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        property_inference(update, KNOWN, has)
    with pytest.raises(
        ValueError, match="needs shadows of a side that differ, got 4 without a difference"
    ):
        property_inference(torch.zeros(2), KNOWN[[0, 0, 2, 2]], SIDES)
    with pytest.raises(ValueError, match="shadows must be finite, got 8"):
        property_inference(torch.zeros(2), KNOWN / 0.0 * 0.0, SIDES)


# --- the source


def test_source_inference_known_answer() -> None:
    # Sums (3, 4, 5), (6, 2, 5): the last round alone says 1, 0, the medians and the first round 0, 1 as here; equal: 0.
    losses = torch.tensor([[[0.0, 6.0, 1.0], [3.0, 0.0, 1.0]], [[3.0, 1.0, 4.0], [2.0, 2.0, 4.0]]])
    found = source_inference(losses)
    assert found.tolist() == [0, 1, 0]
    assert found.dtype == torch.int64


def test_the_source_follows_clients_and_records_and_not_rounds() -> None:
    losses = normal(3, 5, 40, seed=10)
    found = source_inference(losses)
    rounds, clients, records = (torch.randperm(k, generator=generator(k)) for k in (3, 5, 40))
    moved = source_inference(losses[rounds][:, clients][:, :, records])
    assert torch.equal(clients[moved], found[records])
    hard = 10 * normal(3, 1, 40, seed=11)  # a record that is hard for all is nobody's more
    assert torch.equal(source_inference(losses + hard), found)


@pytest.mark.parametrize(
    ("losses", "match"),
    [
        (torch.zeros(2, 3), r"losses must have shape \(any, any, any\), got \(2, 3\)"),
        (torch.zeros(1, 1, 3), "source_inference needs clients >= 2, got clients=1"),
        (torch.full((1, 2, 1), math.nan), "losses must be finite, got 2"),
        (torch.zeros(1, 2, 3).long(), "losses must be floats"),
    ],
)
def test_losses_that_tell_no_source_are_refused(losses: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        source_inference(losses)


# --- nothing is left where coordinates are shuffled


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
    # 200 batches of 32 over 5 classes; the share right varies by less than .2: four standard errors are below .06.
    draws = generator(13)
    weights = torch.randn(5, 8, generator=draws, dtype=torch.float64) / 4
    centers = torch.randn(5, 8, generator=draws, dtype=torch.float64)

    def seen(labels: Tensor) -> tuple[Tensor, Tensor]:
        inputs = centers[labels] + torch.randn(len(labels), 8, generator=draws, dtype=torch.float64)
        probabilities = (inputs @ weights.T).softmax(dim=1)
        errors = probabilities - nn.functional.one_hot(labels, 5)
        inputs = torch.cat([inputs, inputs.new_ones(len(labels), 1)], dim=1)
        return (errors[:, :, None] * inputs[:, None]).flatten(1), probabilities.mean(dim=0)

    mine = torch.arange(200) % 5
    known, probabilities = seen(mine)
    scores = []
    for _ in range(200):
        shares = -torch.rand(5, generator=draws).log()
        labels = torch.multinomial(shares, 32, replacement=True, generator=draws)
        truth, gradient = torch.bincount(labels, minlength=5), seen(labels)[0].mean(dim=0)
        mixed = shuffled(gradient, draws)
        bias, mixed_bias = (values.view(5, 9)[:, -1] for values in (gradient, mixed))
        found = (
            label_counts(gradient, known, mine, classes=5, n=32),
            counts_from_bias(bias, probabilities, n=32),
            label_counts(mixed, known, mine, classes=5, n=32),
            counts_from_bias(mixed_bias, probabilities, n=32),
            torch.tensor([7, 7, 6, 6, 6]),
        )
        scores.append([right(counts, truth) for counts in found])
    full, bias_only, full_mixed, bias_mixed, equal = torch.tensor(scores).mean(dim=0).tolist()
    assert full > 0.9
    assert full > bias_only > 0.8
    assert full_mixed < equal + 0.06
    assert bias_mixed < equal + 0.06


def test_the_property_of_a_shuffled_update_is_chance() -> None:
    # 600 trials of chance .5: four standard errors. As they are, the sides lie 6 deviations apart.
    draws = generator(14)
    has = torch.arange(640) % 2 == 0
    updates = torch.randn(640, 100, generator=draws) + 3.0 * has[:, None] * (torch.arange(100) < 4)
    shadows, victims, truth = updates[:40], updates[40:], has[40:]
    clean = torch.tensor([property_inference(update, shadows, has[:40]) > 0 for update in victims])
    mixed = torch.tensor(
        [property_inference(shuffled(update, draws), shadows, has[:40]) > 0 for update in victims]
    )
    assert float((clean == truth).double().mean()) > 0.95
    assert float((mixed == truth).double().mean()) == pytest.approx(
        0.5, abs=4 * 0.5 / math.sqrt(600)
    )


def test_the_source_under_shuffled_updates_is_chance() -> None:
    # One step of logistic regression from zero, ten clients of ten records each, 40 times: 4,000 of chance .1, of which
    # a hundred share models: twice four standard errors.
    draws, owner, clean, mixed = generator(15), torch.arange(100) // 10, 0, 0
    for _ in range(40):
        records = torch.randn(100, 80, generator=draws)  # each times its label, +-1
        updates = torch.stack([records[owner == client].mean(dim=0) for client in range(10)])
        others = torch.stack([shuffled(update, draws) for update in updates])
        losses = [
            nn.functional.softplus(-(models @ records.T))[None] for models in (updates, others)
        ]
        clean += int((source_inference(losses[0]) == owner).sum())
        mixed += int((source_inference(losses[1]) == owner).sum())
    assert clean / 4000 > 0.8
    assert mixed / 4000 == pytest.approx(0.1, abs=8 * math.sqrt(0.09 / 4000))
