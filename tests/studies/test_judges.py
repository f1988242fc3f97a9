"""The records that judge a row: their public numbers are those of the data, and give the noise."""

import math
from typing import Any

import numpy as np
import pytest

from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario
from securefl.studies.judges import Judges, judges_of, noise_of
from securefl.studies.statistics import Noise, means_error, shares_error

HEART = Judges(records=250, train=490, idle=250, redrawn=True, same=False, classes=2)


def data_of(**keys: Any) -> dict[str, Any]:
    return {"name": "heart", **keys}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"partition": "halves"},
        {"partition": "halves", "only": 4},
        {"partition": "pooled"},
        {"partition": "iid", "clients": 5, "only": 2},
        {"only": 2},
        {"held_out": 0},
        {"held_out": 3, "partition": "pooled"},
        {"held_out": 3, "only": 1},
        {"test_on": "validation"},
        {"test_on": "validation", "partition": "halves", "only": 7},
        {"test_on": "validation", "held_out": 1},
        {"test_on": "validation", "held_out": 1, "partition": "pooled"},
        {"name": "digits"},
        {"name": "digits", "only": 1},
        {"name": "digits", "test_on": "validation"},
    ],
    ids=str,
)
def test_the_numbers_are_those_of_the_data(keys: dict[str, Any]) -> None:
    data = data_of(**keys)
    table = ", ".join(
        f"{key} = {value if isinstance(value, int) else repr(value)}" for key, value in data.items()
    )
    loaded = load_data(
        parse_scenario(f"data = {{ {table} }}\ntraining = {{ kind = 'sgd' }}\nweights = 'equal'")
    )
    judges = judges_of([data], new_splits=True)
    assert judges.records == len(loaded.test)
    if data.get("only") is None:
        assert judges.train == sum(len(site.train) for site in loaded.sites)
    whole = {"heart": 740, "digits": 1797}[data["name"]]
    outside = 0 if "held_out" not in data else {0: 303, 1: 261, 2: 46, 3: 130}[data["held_out"]]
    assert judges.train + judges.idle == whole - outside


def test_new_splits_draw_judges_anew_unless_a_site_is_left_out() -> None:
    assert judges_of([data_of()], new_splits=True) == HEART
    assert judges_of([data_of()], new_splits=False) == HEART._replace(redrawn=False, same=True)
    left_out = judges_of([data_of(held_out=0)], new_splits=True)
    assert left_out == Judges(303, 290, 147, redrawn=True, same=True, classes=2)
    assert left_out.overlap == pytest.approx(147 / 290)
    chosen = judges_of([data_of(held_out=0, test_on="validation")], new_splits=True)
    assert (chosen.redrawn, chosen.same) == (True, False)


def test_the_test_set_of_a_published_split_is_the_same_for_all_seeds() -> None:
    breast = judges_of(
        [{"name": "medmnist:breastmnist", "partition": "dirichlet"}], new_splits=True
    )
    assert (breast.records, breast.redrawn, breast.same, breast.overlap) == (156, False, True, 0.0)
    chosen = judges_of([{"name": "medmnist:breastmnist", "test_on": "validation"}], new_splits=True)
    assert chosen.records == 78
    assert judges_of([{"name": "medmnist:retinamnist"}], new_splits=True).classes == 5


def test_a_mean_over_sites_has_the_records_of_all_of_them_once() -> None:
    assert judges_of([data_of(only=site) for site in range(4)], new_splits=True).records == 250
    assert (
        judges_of([{"name": "digits", "only": site} for site in range(10)], new_splits=True).records
        == 540
    )
    assert (
        judges_of([data_of(only=site, held_out=0) for site in (1, 2, 3)], new_splits=True).records
        == 303
    )


def test_each_metric_has_the_noise_of_the_records_it_counts() -> None:
    def error(metric: str, majority: float | None = 0.6, judges: Judges = HEART) -> float | None:
        return noise_of(metric, 0.9, 0.8, judges, majority=majority).records_error

    assert error("accuracy") == shares_error(0.9, 0.8, 250)
    assert error("attack_success") == pytest.approx(
        shares_error(0.9, 0.8, 100)
    )  # records of another class
    assert error("auc") == error("balanced_accuracy") == pytest.approx(means_error(0.9, 0.8, 100))
    assert error("auc_within_sites") == error("auc")
    assert error("auc", None) == means_error(0.9, 0.8, 125)
    assert error("auc", 0.6, HEART._replace(classes=5)) == pytest.approx(means_error(0.9, 0.8, 25))
    # A normal law's |e| deviates by root(pi/2 - 1) of its mean, its e^2 by root 2 of its mean.
    assert error("mae") == pytest.approx(1.7 * math.sqrt(math.pi / 2 - 1) / math.sqrt(250))
    assert error("rmse") == pytest.approx(1.7 / math.sqrt(500))
    assert error("r2") == pytest.approx((0.1 + 0.2) * math.sqrt(2 / 250))
    assert noise_of("epsilon", 8.0, 3.0, HEART, majority=None) == Noise(250 / 490, 0.0)
    assert noise_of("accuracy", 0.9, 0.8, HEART._replace(same=True), majority=None).same_records
    assert math.isclose(noise_of("accuracy", 0.9, 0.8, HEART, majority=None).overlap, 250 / 490)


def test_the_noise_of_errors_is_that_of_normal_ones() -> None:
    draw = np.random.default_rng(0)
    errors = 3.0 * draw.standard_normal((20_000, 250))
    spread = {
        "mae": np.abs(errors).mean(axis=1).std(),
        "rmse": np.sqrt((errors**2).mean(axis=1)).std(),
        "r2": (1 - (errors**2).mean(axis=1) / 10).std(),
    }
    means = {"mae": 3.0 * math.sqrt(2 / math.pi), "rmse": 3.0, "r2": 1 - 0.9}
    for metric, deviation in spread.items():
        noise = noise_of(metric, means[metric], means[metric], HEART, majority=None)
        # Two models that err alike. The deviation is known to 0.5 %, so 3 % is six of its errors.
        assert noise.records_error == pytest.approx(2 * deviation, rel=0.03)
