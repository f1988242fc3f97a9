"""Whether a scenario can be a later version of a model."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


def check_refine(declared: Declaration, facts: Facts) -> None:
    """Checks the table [refine].

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    refine = declared.refine
    _check_ewc(declared, facts)
    if refine is None:
        return
    if declared.init_from is None:
        raise ScenarioError("refine needs init_from, the run that training starts from")
    if declared.claims_dp and refine.ledgers is None:
        raise ScenarioError(
            "refine.ledgers: a DP claim needs the ledgers of the versions before this one; use "
            "securefl refine, which fills them in"
        )
    if not declared.claims_dp and refine.ledgers is not None:
        raise ScenarioError("refine.ledgers has no effect without a DP claim; remove it")
    if declared.rehearsal is not None:
        raise ScenarioError("rehearsal is for audits of a first version; remove it or refine")
    if facts.algorithm.has_own_models or declared.training.fine_tune is not None:
        raise ScenarioError(
            "refine releases one global model, and here each site ends with a model of its own; "
            "use another training.algorithm, without fine_tune"
        )
    if facts.topology is not None and facts.topology.around:
        raise ScenarioError(
            "refine releases one global model, and peers end with one each; use a server"
        )


def _check_ewc(declared: Declaration, facts: Facts) -> None:
    """Checks what an algorithm that holds on to an earlier version needs."""
    fisher = None if declared.refine is None else declared.refine.fisher
    if not facts.algorithm.anchored:
        if fisher is not None:
            raise ScenarioError("refine.fisher has an effect with training.algorithm = 'ewc' only")
        return
    if fisher is None:
        raise ScenarioError(
            "training.algorithm = 'ewc' holds on to an earlier version of the model: use securefl "
            "refine with --set training.algorithm=ewc"
        )
    noise = declared.training.fisher_noise
    if declared.claims_dp and noise is None:
        raise ScenarioError(
            "training.fisher_noise: under a DP claim the Fisher information is a release; set its "
            "noise multiplier"
        )
    if not declared.claims_dp and noise is not None:
        raise ScenarioError("training.fisher_noise has no effect without a DP claim; remove it")
