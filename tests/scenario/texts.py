"""Scenarios that several tests start from, and the sentence with which one is refused."""

import pytest

from securefl.errors import ScenarioError
from securefl.scenario.data_table import OWN_KEYS
from securefl.scenario.scenario import parse_scenario

# The two scenarios of the design.
HEART = """
seed = 1
rounds = 20
data = { name = "heart", partition = "natural" }
model = { name = "logistic" }
training = { kind = "dp_sgd", batch = 32, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { unit = "example", place = "local", epsilon = 8.0, delta = 1e-5, noise = "system", records = [200, 173, 31, 86] }
channel = { kind = "masked", ring = 32, corrupt = 1, min_cohort = 3 }
defense = { prefilters = [], rule = "mean" }          # rule = { name = "krum", f = 1 }
attack = { name = "sign_flip", scale = 5.0, clients = [0], knows = "own" }
server = { step = "fedavg" }
"""  # noqa: RUF100, E501 - verbatim
DIGITS = """
seed = 2
rounds = 40
data = { name = "digits", partition = "iid", clients = 10, split_seed = 0 }
model = { name = "mlp", hidden = [32] }
training = { kind = "sgd", batch = 16, epochs = 1, lr = 0.3 }
cohort = { size = 10 }
weights = "equal"            # reported (only without a DP claim) | declared (from privacy.records)
channel = { kind = "masked", ring = 32, clip = 4.0, rounding = "stochastic" }     # clip is per coordinate
simulate = { drop = [{ client = 3, round = 2, stage = 3 }] }
defense = { rule = "mean" }
"""  # noqa: RUF100, E501 - verbatim
SGD = 'training = { kind = "sgd" }\n'
# Keys of the table [data] that are off unless a scenario sets them.
NOT_DEALT = dict.fromkeys(
    (
        "only",
        "held_out",
        "alpha",
        "classes",
        "minimum",
        "most",
        "share",
        "size",
        "label_noise",
        "test_on",
        "fold",
        "harmonise",
        "digest",
        "grouped",
        *OWN_KEYS,
    )
)
# Keys of the table [model] that are off unless a scenario sets them.
AS_BUILT = dict.fromkeys(("batch_norm", "train", "weights", "public_weights", "weights_sha256"))
# Keys of the table [training] that are off unless a scenario sets them.
PLAIN_STEPS = dict.fromkeys(
    (
        "optimizer",
        "momentum",
        "weight_decay",
        "algorithm",
        "mu",
        "alpha",
        "lam",
        "head_epochs",
        "personal",
        "fine_tune",
        "strength",
        "fisher_noise",
        "clip_quantile",
        "clip_lr",
        "schedule",
        "step_every",
        "step_at",
        "step_factor",
        "class_weights",
        "physical_batch",
        "sample_rate",
        "ema",
    )
)


def digits(keys: str = "") -> str:
    """Returns ten clients with digits and plain SGD; keys go into the table [data]."""
    return SGD + f'data = {{ name = "digits"{keys and ", " + keys} }}\n'


def refusal(text: str, *overrides: str) -> str:
    """Returns the one line with which a text is refused."""
    with pytest.raises(ScenarioError, match=r"\S") as refused:
        parse_scenario(text, overrides=overrides)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    return str(refused.value)
