"""Which modules train: all but those whose parameters are all frozen."""

from torch import nn

from securefl.learning.modes import training_mode


def frozen_body() -> nn.Sequential:
    """Returns a frozen body with a dropout and a batch norm, a dropout, and a head that trains."""
    body = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    body.requires_grad_(False)
    return nn.Sequential(body, nn.Dropout(0.5), nn.Linear(3, 2))


def test_a_frozen_module_and_all_inside_it_run_in_evaluation_mode() -> None:
    model = frozen_body()
    model.eval()
    training_mode(model)
    body, dropout, head = model
    assert [module.training for module in body.modules()] == [False] * 4
    assert model.training
    # A module without parameters is not frozen.
    assert dropout.training
    assert head.training


def test_a_module_that_trains_one_of_its_parameters_runs_in_training_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)
    training_mode(model)
    assert model[0].training


def test_without_frozen_modules_everything_trains() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2, affine=False))
    model.eval()
    training_mode(model)
    assert all(module.training for module in model.modules())
