"""Group norm for batch norm, frozen parameters and weights from outside."""

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.adapt import Adaptation, adapted, batch_norms, check_fit
from securefl.learning.sgd import SgdTrainer
from securefl.rng import Keystream, seeded_keystream


def network() -> nn.Sequential:
    """Returns a body of a convolution, a batch norm and a dropout, then a head."""
    body = nn.Sequential(nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.Dropout(0.5))
    return nn.Sequential(body, nn.Flatten(), nn.BatchNorm1d(12, affine=False), nn.Linear(12, 2))


def streams(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(0, purpose, client, round)


def trained(model: nn.Module) -> list[str]:
    return [name for name, value in model.named_parameters() if value.requires_grad]


def test_batch_norm_becomes_group_norm_as_opacus_does_it() -> None:
    fixed = ModuleValidator.fix(network())
    ours = adapted(network(), Adaptation("group"))
    # 12 channels in gcd(32, 12) = 4 groups.
    assert "GroupNorm(4, 12" in str(ours[0])  # type: ignore[index]
    assert str(ours[0]) == str(fixed[0])  # type: ignore[index]
    # Opacus leaves a norm without parameters as it is, which mixes records all the same.
    assert isinstance(ours[2], nn.GroupNorm)  # type: ignore[index]
    assert isinstance(adapted(nn.BatchNorm3d(3), Adaptation("group")), nn.GroupNorm)


def test_vectors_are_normed_as_a_whole() -> None:
    # Opacus makes 8 groups of one number each, which are all zero.
    norm = adapted(nn.BatchNorm1d(8), Adaptation("group"))
    values = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    expected = nn.functional.layer_norm(values, (8,))
    assert torch.allclose(norm(values), expected, atol=1e-6)


def test_group_without_a_batch_norm_has_no_effect_and_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_norm has no effect: the model has no batch norm"):
        adapted(nn.Linear(2, 1), Adaptation("group"))


def test_patterns_choose_what_trains() -> None:
    assert trained(adapted(network(), Adaptation(train=("3.*",)))) == ["3.weight", "3.bias"]
    assert trained(adapted(network(), Adaptation(train=("0.1.*", "3.bias")))) == [
        *("0.1.weight", "0.1.bias", "3.bias")
    ]


def test_what_the_author_froze_stays_frozen() -> None:
    model = network()
    model[0].requires_grad_(False)
    assert trained(adapted(model, Adaptation(train=("*.weight",)))) == ["3.weight"]
    with pytest.raises(ValueError, match=r"train has '0\.\*', which matches no parameter"):
        adapted(model, Adaptation(train=("0.*",)))


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (
            ("head.*",),
            r"'head\.\*', which matches no parameter that trains; there are",
        ),
        (("3.*", "4.*"), r"train has '4\.\*'"),
        ((), "train is empty: nothing would be trained"),
    ],
)
def test_patterns_that_match_nothing_are_refused(patterns: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        adapted(network(), Adaptation(train=patterns))


def test_the_statistics_of_a_frozen_body_stay_at_home() -> None:
    model = adapted(network(), Adaptation(train=("3.*",)))
    assert list(vector.shapes(model)) == [
        *("3.weight", "3.bias", "2.running_mean", "2.running_var")
    ]


def test_batch_norms_that_see_other_records_are_found() -> None:
    assert batch_norms(network()) == ["0.1", "2"]
    # A frozen one uses the statistics that it came with; without parameters none is frozen.
    assert batch_norms(adapted(network(), Adaptation(train=("3.*",)))) == ["2"]


def test_a_norm_without_parameters_in_a_frozen_body_keeps_its_statistics() -> None:
    body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False))
    model = adapted(nn.Sequential(body, nn.Linear(3, 1)), Adaptation(train=("1.*",)))
    assert batch_norms(model) == []
    task = Task(features=2, classes=2)
    examples = Examples(torch.full((4, 2), 5.0), torch.tensor([0, 1, 0, 1]))
    trainer = SgdTrainer(
        model, task, examples, client=0, batch=2, epochs=1, lr=0.1, stream_for=streams
    )
    before = vector.layout(model)
    trainer.fit(vector.to_vector(model), round=0)
    assert vector.layout(model) == before
    forgetful = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 1))
    assert batch_norms(adapted(forgetful, Adaptation(train=("1.*",)))) == ["0"]


def test_under_noise_no_buffer_travels_and_constants_count_in_the_layout() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("scale", torch.tensor(5.0))
    assert vector.size(model) == 2
    model = adapted(model, Adaptation(private=True))  # type: ignore[assignment]
    assert vector.size(model) == 1
    before = vector.layout(model)
    model.get_buffer("scale").fill_(6)
    assert vector.layout(model) != before


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.full_like(value, 3) for name, value in model.state_dict().items()}


def test_weights_are_written_by_name() -> None:
    weights = weights_of(network())
    model = adapted(network(), Adaptation(), weights=weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    # The order of a file is not that of the model.
    again = adapted(network(), Adaptation(), weights=dict(reversed(weights.items())))
    assert torch.equal(vector.to_vector(again), vector.to_vector(model))


def test_weights_are_of_the_model_with_its_group_norms() -> None:
    fixed = adapted(network(), Adaptation("group"))
    model = adapted(network(), Adaptation("group", private=True), weights=weights_of(fixed))
    assert bool((vector.to_vector(model) == 3).all())


def test_statistics_of_replaced_batch_norms_are_one_sentence_with_the_way_out() -> None:
    weights = weights_of(network())
    with pytest.raises(ValueError, match="group norm") as refused:
        adapted(network(), Adaptation("group"), weights=weights)
    assert str(refused.value) == (
        "the model has no '0.1.running_mean', as it has a group norm where the file has a batch "
        "norm: remove the 6 statistics of batch norm from the file, or load it without "
        "model.batch_norm"
    )
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    dropped = {name: value for name, value in weights.items() if not name.endswith(statistics)}
    model = adapted(network(), Adaptation("group"), weights=dropped)
    assert bool((vector.to_vector(model) == 3).all())
    # Names that only look alike are like any others.
    with pytest.raises(ValueError, match=r"^the model has no '3\.running_mean'$"):
        adapted(
            network(), Adaptation("group"), weights={**dropped, "3.running_mean": torch.ones(1)}
        )


def test_a_file_may_lack_counters_of_batches_and_nothing_else() -> None:
    weights = weights_of(network())
    del weights["0.1.num_batches_tracked"]
    adapted(network(), Adaptation(), weights=weights)
    del weights["0.1.running_var"]
    with pytest.raises(ValueError, match=r"^the file lacks '0\.1\.running_var'$"):
        adapted(network(), Adaptation(), weights=weights)


def test_each_mismatch_has_a_sentence() -> None:
    model = nn.Linear(2, 1)
    tensors = {"weight": ((1, 3), True), "bias": ((1,), False), "head": ((), True)}
    with pytest.raises(ValueError, match="head") as refused:
        check_fit(model, tensors)
    assert str(refused.value) == (
        "'weight' has the shape (1, 3) in the file, (1, 2) in the model; "
        "'bias' has another type of numbers in the file than in the model; "
        "the model has no 'head'"
    )


def test_of_many_mismatches_the_first_are_told() -> None:
    tensors = {f"layer{number}": ((1,), True) for number in range(7)}
    with pytest.raises(ValueError, match=r"the file lacks 'weight'; .*'layer2'; and 4 more$"):
        check_fit(nn.Linear(2, 1), tensors)
