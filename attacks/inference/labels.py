"""Label inference: how many records of each class are behind a gradient or an update."""

import torch
from torch import Tensor

from attacks.checks import check_finite
from attacks.inference.covariance import over_covariance, scaled


def label_of_one(gradient: Tensor) -> int:
    """Returns the label of a single record, given its gradient of a model's last layer.

    Args:
        gradient: of cross-entropy, at any weights. (c,) floats, of the bias; c = 1 is the single
            logit of a two-class model. Or (c, h), c >= 3, of the weight, for layers without bias.

    Returns:
        The class, 0 to c - 1; 0 or 1 if c = 1.

    Raises:
        ValueError: gradient is not as above, or says nothing: a bias gradient of zeros, or fewer
            than three rows of a weight gradient that are not zero.

    Guarantees:
        - Exact for a bias gradient, and unchanged by a positive factor: the gradient is p - y,
          which is negative at the label only.
        - Exact for a weight gradient times any factor, positive or negative. Its rows are
          (p - y) times the same inputs, so that the label's row points against all others.

    Source: Zhao, Mopuri and Bilen, iDLG: Improved Deep Leakage from Gradients, 2020, section 3.
        Convention, ours: the bias where the layer has one. Otherwise, of the weight's rows scaled
        to one size, the row that points most against their sum.
    """
    if gradient.ndim == 1:
        check_finite("gradient", gradient, (-1,))
        if not bool(gradient.any()):
            raise ValueError(
                f"label_of_one needs a gradient other than zero, got {len(gradient)} zeros"
            )
        if len(gradient) == 1:
            return int(gradient[0] < 0)
        return int(gradient.argmin())
    check_finite("gradient", gradient, (-1, -1))
    places = gradient.any(dim=1).nonzero()[:, 0]
    # Of two opposite rows either could be the label's.
    if len(places) < 3:
        raise ValueError(
            "label_of_one needs >= 3 rows of a weight's gradient other than zero, "
            f"got {len(places)}"
        )
    rows = torch.stack([scaled(row)[0] for row in gradient[places]])
    agreement = rows @ rows.sum(dim=0)
    return int(places[agreement.argmin()])


def counts_from_bias(gradient: Tensor, probabilities: Tensor, *, n: int) -> Tensor:
    """Returns how many records of each class a batch has, from the last bias gradient.

    Args:
        gradient: (classes,) floats, of the bias, mean over the batch: p - y. Or (1,), of the
            single logit of a two-class model. For an update of several local steps:
            update / (-lr * steps).
        probabilities: (classes,) floats, the model's mean probabilities, as guessed from the
            attacker's own records or from noise. For an update: the mean of the probabilities of
            the global model and of global + update.
        n: records of the batch (for an update: of the client), >= 1.

    Returns:
        (classes,) int64 with sum n: the shares nearest to probabilities - gradient, rounded by
        largest remainder.

    Raises:
        ValueError: arguments not as above.

    Source: Geng et al., Towards General Deep Leakage in Federated Learning, 2021, section 3;
        Wainakh et al., User-Level Label Leakage from Gradients in Federated Learning, PETS 2022.
        Convention: the nearest shares that are >= 0 and sum to 1; the first class of equal
        remainders.
    """
    check_finite("probabilities", probabilities, (-1,))
    classes = len(probabilities)
    single_logit = classes == 2 and len(gradient) == 1
    check_finite("gradient", gradient, (1,) if single_logit else (classes,))
    _check_n("counts_from_bias", n)
    error = torch.cat([-gradient, gradient]) if single_logit else gradient
    shares = probabilities.double() - error.double()
    corners = torch.eye(classes, dtype=torch.float64)  # the shares of one class alone
    return _whole_counts(_nearest_mix(corners - shares), n)


def label_counts(
    gradient: Tensor,
    references: Tensor,
    labels: Tensor,
    *,
    classes: int,
    n: int,
) -> Tensor:
    """Returns how many records of each class a batch has, from the attacker's own gradients.

    Args:
        gradient: (d,) floats, mean over the batch, of the last layer (weight and bias; further
            layers may be included). For an update of several local steps:
            update / (-lr * steps).
        references: (k, d) floats, the same coordinates of each reference record's gradient, at
            the global model. The attacker owns these records. For an update: the mean of these
            gradients over models on the line from global to global + update.
        labels: (k,) whole numbers, of the reference records; each of 0 to classes - 1 at least
            once.
        classes: number of classes, >= 2.
        n: records of the batch (for an update: of the client), >= 1.

    Returns:
        (classes,) int64 with sum n: the likeliest shares, rounded by largest remainder.

    Raises:
        ValueError: a class without a reference record, or arguments not as above.

    Guarantees:
        - Unchanged if gradient and references are multiplied by one positive number, or if their
          coordinates are permuted.
        - Exact if all records of a class have the same gradient, and the gradients of the classes
          are affinely independent.

    Source: linear in the counts, as in Ma et al., Instance-wise Batch Label Restoration via
        Gradients in Federated Learning, ICLR 2023, and Geng et al. 2021. Convention, ours: the
        shares that mix the classes' mean gradients to the nearest point, by generalised least
        squares with the covariance within classes. Every class counts the same there, and the
        mean of the covariance's non-zero eigenvalues is added to all of them.
    """
    check_finite("gradient", gradient, (-1,))
    check_finite("references", references, (-1, len(gradient)))
    _check_n("label_counts", n)
    counts = _class_counts(labels, len(references), classes)
    target, rows = scaled(gradient, references)
    sums = torch.zeros(classes, len(target), dtype=torch.float64)
    sums.index_add_(0, labels, rows)
    means = sums / counts[:, None]  # (classes, d)
    # Dividing by the root of the class size makes every class count the same.
    weights = counts[labels, None].sqrt()
    residuals = (rows - means[labels]) / weights
    degrees_of_freedom = max(len(references) - classes, 1)
    points = means - target
    whitened = over_covariance(points, residuals, degrees_of_freedom)
    gram = points @ whitened.T
    # Rounding makes the Gram matrix slightly asymmetric and its least eigenvalue negative.
    values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
    coordinates = vectors * values.clamp_min(0).sqrt()
    return _whole_counts(_nearest_mix(coordinates), n)


def _nearest_mix(points: Tensor) -> Tensor:
    """Returns the weights (c,) >= 0, of sum 1, that mix points (c, m) nearest to zero."""
    # Importing scipy.optimize takes half a second, which other attacks need not wait.
    from scipy.optimize import nnls

    # Lawson and Hanson, Solving Least Squares Problems, chapter 23: a row of ones turns the
    # constrained problem into non-negative least squares, whatever the weight of that row.
    ones = points.new_ones(len(points), 1)
    columns = torch.cat([scaled(points)[0], ones], dim=1)  # (c, m + 1)
    target = [0.0] * points.shape[1] + [1.0]
    solution, _ = nnls(columns.T.numpy(force=True), target)
    weights = torch.from_numpy(solution)
    return weights / weights.sum()


def _whole_counts(shares: Tensor, n: int) -> Tensor:
    """Returns counts (c,) int64 with sum n, by largest remainder."""
    # Rounded first, so that 3 - 1e-15 is three, and remainders that should be equal are.
    exact = (shares * n).round(decimals=9)
    counts = exact.floor().long()
    by_remainder = (counts - exact).argsort(stable=True)
    missing = n - int(counts.sum())
    counts[by_remainder[:missing]] += 1
    return counts


def _check_n(attack: str, n: int) -> None:
    if n < 1:
        raise ValueError(f"{attack} needs n >= 1, got n={n}")


def _class_counts(labels: Tensor, k: int, classes: int) -> Tensor:
    """Returns the records (classes,) of each class.

    Raises:
        ValueError: labels are not k classes (int64), or a class is missing.
    """
    if labels.shape != (k,) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be {k} whole numbers (int64), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    present = torch.unique(labels).tolist()
    if classes < 2 or present != list(range(classes)):
        raise ValueError(f"labels must be all of 0 to {classes - 1}, classes >= 2, got {present}")
    return torch.bincount(labels)
