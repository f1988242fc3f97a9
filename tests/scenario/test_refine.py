"""The table [refine]: filled in by a command, and refused where it means nothing."""

import pytest

from securefl.errors import ScenarioError
from securefl.scenario.scenario import parse_scenario

SGD = 'training = { kind = "sgd" }\n'
VERSION = "refine = { version = 2 }\n"
FROM = 'init_from = "runs/first"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SGD + VERSION, "refine needs init_from, the run that training starts from"),
        (SGD + FROM + "refine = { version = 1 }", "refine.version"),
        (SGD + FROM + "refine = {}", "refine.version"),
        (FROM + VERSION, "a DP claim needs the ledgers of the versions before this one"),
        (
            SGD + FROM + 'refine = { version = 2, ledgers = "x" }',
            "refine.ledgers has no effect without a DP claim",
        ),
        (
            SGD + FROM + 'refine = { version = 2, fisher = "x" }',
            "refine.fisher has an effect with training.algorithm = 'ewc' only",
        ),
        (
            SGD + FROM + VERSION + "rehearsal = { client = 0 }",
            "rehearsal is for audits of a first version",
        ),
        (
            'training = { kind = "sgd", algorithm = "ditto", lam = 0.1 }\n' + FROM + VERSION,
            "here each site ends with a model of its own",
        ),
        (
            SGD
            + FROM
            + VERSION
            + 'topology = "peer"\nweights = "equal"\ndefense = { rule = "mean" }',
            "peers end with one each; use a server",
        ),
    ],
)
def test_what_means_nothing_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence.replace(".", r"\.")):
        parse_scenario(text)


def test_a_later_version_is_a_scenario_like_any_other() -> None:
    refine = parse_scenario(SGD + FROM + VERSION).refine
    assert refine is not None
    assert (refine.version, refine.ledgers, refine.fisher) == (2, None, None)
