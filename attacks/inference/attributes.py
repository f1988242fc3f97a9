"""What a federation shows of labels, of a property of a client's records, and of whose a record is."""

import torch
from torch import Tensor

from attacks.records import check_finite


def label_of_one(gradient: Tensor) -> int:
    """The label of the single record that a last layer's gradient is of.

    Args:
        gradient: (c,) floats, of the bias; or (c, h), of the weight of a layer without one, c >= 3. c = 1 is the one
            logit of two classes. Of cross-entropy, at any weights.

    Returns:
        The class, 0 to c - 1; 0 or 1 if c = 1.

    Raises:
        ValueError: gradient is not as above, or tells nothing: fewer than three rows, or no bias's value, are not zero.

    Guarantees:
        - Exact, and the same for every positive multiple: the bias's gradient is p - y, below zero at the label alone.
        - Exact of a weight's, for either sign of its multiple: rows are (p - y) times the same inputs, so that the
          label's points against all others.

    Source: Zhao, Mopuri and Bilen, iDLG: Improved Deep Leakage from Gradients, 2020, section 3. Convention, ours: the
        bias where there is one; for a weight that of its rows, scaled to one size, that points against their sum.
    """
    if gradient.ndim == 1:
        check_finite("gradient", gradient, (-1,))
        if not bool(gradient.any()):
            raise ValueError(
                f"label_of_one needs a gradient other than zero, got {len(gradient)} zeros"
            )
        return int(gradient[0] < 0) if len(gradient) == 1 else int(gradient.argmin())
    check_finite("gradient", gradient, (-1, -1))
    places = gradient.any(dim=1).nonzero()[:, 0]
    if len(places) < 3:
        raise ValueError(
            f"label_of_one needs >= 3 rows of a weight's gradient other than zero, got {len(places)}"
        )
    rows = torch.cat([_scaled(row)[0][None] for row in gradient[places]])
    return int(places[(rows @ rows.sum(dim=0)).argmin()])


def counts_from_bias(gradient: Tensor, probabilities: Tensor, *, n: int) -> Tensor:
    """How many records of each class a batch has, from the last layer's bias and a guess at the mean probabilities.

    Args:
        gradient: (classes,) floats, of the bias, mean over the batch: p - y; or (1,), the one logit of two classes. Of
            an update by several local steps: update / (-lr * steps).
        probabilities: (classes,) floats, what the model gives on average: on the attacker's own records, or on noise.
            Of an update, the mean of those of the global model and of global + update.
        n: records of the batch (of an update, the client's), >= 1.

    Returns:
        (classes,) int64 of sum n: the shares nearest to probabilities - gradient, rounded by largest remainder.

    Raises:
        ValueError: arguments not as above.

    Source: Geng et al., Towards General Deep Leakage in Federated Learning, 2021, section 3; Wainakh et al.,
        User-Level Label Leakage from Gradients in Federated Learning, PETS 2022. Convention: the nearest shares (>= 0,
        of sum 1), and the first class of equal remainders.
    """
    check_finite("probabilities", probabilities, (-1,))
    classes = len(probabilities)
    check_finite("gradient", gradient, (1,) if classes == 2 and len(gradient) == 1 else (classes,))
    _check_n("counts_from_bias", n)
    error = torch.cat([-gradient, gradient]) if len(gradient) < classes else gradient
    shares = probabilities.double() - error.double()
    return _whole_counts(_nearest(torch.eye(classes, dtype=torch.float64) - shares), n)


def label_counts(
    gradient: Tensor, known: Tensor, labels: Tensor, *, classes: int, n: int
) -> Tensor:
    """How many records of each class a batch has, from the attacker's own records' gradients.

    Args:
        gradient: (d,) floats, mean over the batch, of the last layer (weight and bias; other layers may be there, too).
            Of an update by several local steps: update / (-lr * steps).
        known: (k, d) floats, the same coordinates of the loss of each of the attacker's records, at the global model.
            Of an update, their mean over models on the line from global to global + update.
        labels: (k,) whole numbers, of these records; each of 0 to classes - 1 at least once.
        classes: how many there are, >= 2.
        n: records of the batch (of an update, the client's), >= 1.

    Returns:
        (classes,) int64 of sum n: the likeliest shares, rounded by largest remainder.

    Raises:
        ValueError: a class without a record, or arguments not as above.

    Guarantees:
        - The same for all when gradient and known are multiplied by one positive number, or their coordinates moved.
        - Exact if records of a class have the same gradient, and those of the classes are affinely independent.

    Source: linear in the counts, as Ma et al., Instance-wise Batch Label Restoration via Gradients in Federated
        Learning, ICLR 2023, and Geng et al. 2021 have it. Convention, ours: the shares whose mix of the classes' mean
        gradients is nearest, by generalised least squares with the covariance within classes (each counted alike; the
        mean of its eigenvalues other than zero added to all).
    """
    check_finite("gradient", gradient, (-1,))
    check_finite("known", known, (-1, len(gradient)))
    _check_n("label_counts", n)
    counts = _known_counts(labels, len(known), classes)
    seen, records = _scaled(gradient, known)
    means = (
        torch.zeros(classes, len(seen), dtype=torch.float64).index_add_(0, labels, records)
        / counts[:, None]
    )
    residuals = (records - means[labels]) / counts[labels, None].sqrt()
    points = means - seen
    gram = points @ _over_covariance(points, residuals, max(len(known) - classes, 1)).T
    values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
    return _whole_counts(_nearest(vectors * values.clamp_min(0).sqrt()), n)


def property_inference(update: Tensor, shadows: Tensor, has: Tensor) -> float:
    """How much likelier an update is from records with a property than without, in log.

    Args:
        update: (d,) floats, of the client. Of a sum in which others are added: less the attacker's guess at these.
        shadows: (k, d) floats, updates that the attacker trained from the same global model on its own records.
        has: (k,) bool, whether the shadow's records had the property.

    Returns:
        The score: above 0 if the update looks like those with the property.

    Raises:
        ValueError: no shadow on a side, shadows that do not differ from others of their side, or arrays not as above.

    Guarantees:
        - The same for any order of shadows, and when all updates are multiplied by one positive number, moved by one
          vector or given other orders of coordinates; of opposite sign when has is turned round.
        - Memory O(k (k + d)), never d squared; so has label_counts.

    Source: Melis et al., Exploiting Unintended Feature Leakage in Collaborative Learning, IEEE S&P 2019, section 4;
        Ganju et al., Property Inference Attacks on Fully Connected Neural Networks, CCS 2018 (shadows). Convention,
        ours: where they train networks or forests, the linear discriminant of two Gaussians of one covariance, to all
        of whose eigenvalues the mean of those other than zero is added; both sides are as likely beforehand.
    """
    check_finite("update", update, (-1,))
    check_finite("shadows", shadows, (-1, len(update)))
    if has.dtype != torch.bool or has.shape != (len(shadows),):
        raise ValueError(
            f"has must be {len(shadows)} truths, got {has.dtype} of shape {tuple(has.shape)}"
        )
    if not 0 < int(has.sum()) < len(has):
        raise ValueError(
            f"property_inference needs shadows with and without it, got {int(has.sum())} of {len(has)}"
        )
    seen, rows = _scaled(update, shadows)
    with_it, without = rows[has].mean(dim=0), rows[~has].mean(dim=0)
    residuals = rows - torch.where(has[:, None], with_it, without)
    if not bool((residuals.abs() > 1e-12).any()):  # what rounding leaves of shadows that agree
        raise ValueError(
            f"property_inference needs shadows of a side that differ, got {len(has)} without a difference"
        )
    gap = (with_it - without)[None]
    return float(
        _over_covariance(gap, residuals, max(len(rows) - 2, 1))[0]
        @ (seen - (with_it + without) / 2)
    )


def source_inference(losses: Tensor) -> Tensor:
    """The client that each record is most likely of: the one whose local models have the lowest loss on it.

    Args:
        losses: (rounds, clients, n) floats, of every client's local model of every round on every record; rounds >= 1.

    Returns:
        (n,) int64, 0 to clients - 1; the first of equals.

    Raises:
        ValueError: fewer than two clients, or losses that are no floats, not finite or of another shape.

    Source: Hu et al., Source Inference Attacks in Federated Learning, ICDM 2021, section III. Convention, ours: the
        mean over rounds, which finds more than the last round does. Taking off each client's mean loss on other records
        found no more where sites are alike, and less where they differ, so losses stay as they are.
    """
    check_finite("losses", losses, (-1, -1, -1))
    if losses.shape[1] < 2:
        raise ValueError(f"source_inference needs clients >= 2, got clients={losses.shape[1]}")
    return losses.double().mean(dim=0).argmin(dim=0)


def _over_covariance(rows: Tensor, residuals: Tensor, degrees: int) -> Tensor:
    """Rows (m, d) times the inverse of a shrunk covariance, of residuals (k, d); the rows themselves if these are 0."""
    dual = residuals @ residuals.T  # (k, k)
    ridge = dual.trace() / min(
        degrees, residuals.shape[1]
    )  # the mean of the eigenvalues other than zero
    if ridge == 0:
        return rows
    dual.diagonal().add_(ridge)
    explained: Tensor = torch.linalg.solve(dual, residuals @ rows.T).T @ residuals  # (m, d)
    return (rows - explained) * (degrees / ridge)


def _nearest(points: Tensor) -> Tensor:
    """(c,) weights >= 0 of sum 1 that mix points (c, m) to what is nearest to zero."""
    # Lawson and Hanson, Solving Least Squares Problems, chapter 23: with a row of ones, whatever the scale.
    rows = torch.cat([_scaled(points)[0], points.new_ones(len(points), 1)], dim=1).T
    from scipy.optimize import nnls  # half a second that other attacks need not wait

    found, _ = nnls(rows.numpy(force=True), [0.0] * (len(rows) - 1) + [1.0])
    weights = torch.from_numpy(found)
    return weights / weights.sum()


def _whole_counts(shares: Tensor, n: int) -> Tensor:
    """(c,) int64 of sum n, by largest remainder."""
    wanted = (shares * n).round(decimals=9)  # so that 3 - 1e-15 is three, and equal remainders are
    counts = wanted.floor().long()
    counts[(counts - wanted).argsort(stable=True)[: n - int(counts.sum())]] += 1
    return counts


def _scaled(*values: Tensor) -> tuple[Tensor, ...]:
    """Values in float64 over the largest of all, so that squares stay in range."""
    largest = max(float(value.abs().max()) for value in values) or 1.0
    return tuple(value.double() / largest for value in values)


def _check_n(attack: str, n: int) -> None:
    if n < 1:
        raise ValueError(f"{attack} needs n >= 1, got n={n}")


def _known_counts(labels: Tensor, k: int, classes: int) -> Tensor:
    """(classes,) records of each class; ValueError unless labels are k classes, each there."""
    if labels.shape != (k,) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be {k} whole numbers (int64), got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if classes < 2 or torch.unique(labels).tolist() != list(range(classes)):
        raise ValueError(
            f"labels must be all of 0 to {classes - 1}, classes >= 2, got {torch.unique(labels).tolist()}"
        )
    return torch.bincount(labels)
