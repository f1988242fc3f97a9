"""The published figures of MedMNIST: complete, plausible, and under the right conditions."""

from securefl.data.medmnist_info import names
from securefl.data.published import (
    AUTOML,
    CONDITIONS,
    CONDITIONS_OF_AUTOML,
    MODALITIES,
    PREFIX,
    figures_of,
    means,
)


def test_known_figures_by_hand() -> None:
    # Typed from Yang et al. 2023: BreastMNIST and AdrenalMNIST3D.
    breast = {figure.method: (figure.auc, figure.accuracy) for figure in figures_of(BREAST)}
    assert breast == {
        "ResNet-18 (28)": (0.901, 0.863),
        "ResNet-18 (224)": (0.891, 0.833),
        "ResNet-50 (28)": (0.857, 0.812),
        "ResNet-50 (224)": (0.866, 0.842),
        "auto-sklearn": (0.836, 0.803),
        "AutoKeras": (0.871, 0.831),
        "Google AutoML Vision": (0.919, 0.861),
    }
    (acs,) = [
        figure
        for figure in figures_of("medmnist:adrenalmnist3d")
        if figure.method == "ResNet-18 + ACS"
    ]
    assert (acs.auc, acs.accuracy, acs.source) == (0.839, 0.754, "Yang et al. 2023")


BREAST = "medmnist:breastmnist"


def test_every_set_has_its_figures_and_a_modality() -> None:
    assert set(MODALITIES) == set(names())
    for name in names():
        figures = figures_of(f"{PREFIX}{name}")
        assert len({figure.method for figure in figures}) == len(figures)
        assert len(figures) == (8 if name.endswith("3d") else 7)
        assert {figure.dataset.lower() for figure in figures} == {name}
        for figure in figures:
            # Shares, not percentages; no AUC of a trained net is below chance.
            assert 0.5 < figure.auc <= 1
            assert 0.3 < figure.accuracy <= 1


def test_only_a_full_name_of_a_medmnist_set_has_figures() -> None:
    for name in ("breastmnist", "medmnist:", "medmnist:nonsense", "heart", "None"):
        assert figures_of(name) == ()


def test_a_system_that_chooses_its_model_is_not_said_to_have_batch_norm() -> None:
    assert "BatchNorm" not in CONDITIONS_OF_AUTOML
    conditions = {figure.method: figure.conditions for figure in figures_of(BREAST)}
    for method, words in conditions.items():
        assert words == (CONDITIONS_OF_AUTOML if method in AUTOML else CONDITIONS)
        assert words.startswith("published, without DP, pooled, ")
    assert list(conditions.values()).count(CONDITIONS) == 4


def test_every_architecture_has_a_mean_at_four_sizes() -> None:
    by_name: dict[str, list[int]] = {}
    for mean in means():
        by_name.setdefault(mean.architecture, []).append(mean.pixels)
        assert 0.8 < mean.auc < 1
        assert 0.7 < mean.accuracy < mean.auc
        assert mean.source == "Doerrich et al. 2024"
    assert len(by_name) == 6
    assert set(map(tuple, by_name.values())) == {(28, 64, 128, 224)}
    (resnet,) = [mean for mean in means() if (mean.architecture, mean.pixels) == ("ResNet-18", 28)]
    assert (resnet.auc, resnet.accuracy) == (0.9092, 0.7966)
