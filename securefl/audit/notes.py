"""The scope and the notes of an audit: what its findings rest on, and what they do not say."""

import math

from securefl.audit.bounds import Claim
from securefl.audit.inquiry import Inquiry, misfit
from securefl.audit.request import AuditRequest
from securefl.audit.scope import Budget, Onlooker, Scope
from securefl.audit.threats import SERVER, adversaries_in, threat
from securefl.privacy.chain import seeded_mark
from securefl.runs.environment import code_hash
from securefl.runs.names import cell_hash
from securefl.runs.origin import origin_of
from securefl.scenario.claim_words import held_against
from securefl.scenario.scenario import Scenario
from securefl.scenario.summary import summary

_OPTION = "--adversary: "  # before the reasons of the command line


def scope_of(inquiry: Inquiry, request: AuditRequest, claim: Claim | None) -> Scope:
    """Returns what an audit looks at, in words that need no other file.

    Args:
        inquiry: names the scenario, the adversary and the target.
        request: with the options of the audit.
        claim: of the target's ledger; None where nothing was measured.
    """
    scenario = inquiry.scenario
    topology = SERVER if scenario.topology is None else scenario.topology.kind
    sees = inquiry.threat.sees(
        scenario.channel.kind,
        reported=scenario.weights == "reported",
        topology=scenario.facts.topology,
        choice=scenario.facts.selects,
    )
    return Scope(
        code=code_hash(),
        scenario=_described(scenario),
        cell=cell_hash(scenario.resolved()),
        of_run=request.of_run,
        topology=topology,
        channel=scenario.channel.kind,
        adversary=inquiry.adversary,
        who=inquiry.threat.who,
        coalition=inquiry.coalition,
        target=inquiry.target,
        sees=tuple(map(str, sees)),
        deviates=inquiry.threat.deviates,
        shadows=request.shadows,
        exposure=request.exposure,
        budget=_budget(inquiry, claim),
        onlookers=tuple(
            Onlooker(name, threat(name).who, misfit(scenario, name).removeprefix(_OPTION))
            for name in adversaries_in(topology)
        ),
    )


def _described(scenario: Scenario) -> tuple[str, ...]:
    """What the scenario does, in sentences."""
    origin = origin_of(scenario)
    if origin is None:
        text = summary(scenario)
    else:
        text = summary(scenario, origin.seeded, origin.pasts(scenario.clients))
    return tuple(text.removeprefix("valid: ").splitlines())


def _budget(inquiry: Inquiry, claim: Claim | None) -> Budget | None:
    privacy = inquiry.scenario.privacy
    if privacy is None or not inquiry.scenario.claims_dp:
        return None
    spent = None if claim is None else claim.epsilon
    # JSON has no infinity, and the claim in words says it.
    if spent is not None and math.isinf(spent):
        spent = None
    return Budget(privacy.epsilon, privacy.delta, spent)


def notes_on(inquiry: Inquiry, scope: Scope) -> list[str]:
    """Returns who looks, what that party sees, and how far the findings reach."""
    notes = [scope.is_seen]
    if not inquiry.scenario.repeatable:
        notes.append(
            "noise comes from the system: every audit is of a fresh draw, with other numbers"
        )
    vantage = inquiry.vantage
    if vantage is not None and vantage.own_model:
        notes.append(
            f"it ends with the last model that client {inquiry.target} sent; shadows end with the "
            "run's model, the mean of the nodes, so that no attack compares the two: LiRA and RMIA "
            "are for outsiders"
        )
    if inquiry.threat.deviates:
        notes.append(
            "all but the imprint is measured as if it kept to the protocol; "
            "what else it can do: docs/threat-model.md"
        )
    notes.append(
        "what an audit shows is not covered by the run's epsilon, nor are the models of its "
        "shadows, which stay in its folder: for test data and rehearsals, not for publication "
        "about patients"
    )
    return notes


def claimed(inquiry: Inquiry, claim: Claim | None) -> str:
    """Returns the claim in words: the budget, what the ledger says was spent, and of whom.

    Args:
        inquiry: names scenario and target.
        claim: of the target's ledger; None where nothing was measured.
    """
    privacy = inquiry.scenario.privacy
    if privacy is None or not inquiry.scenario.claims_dp:
        return f"no claim for client {inquiry.target}"
    budget = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g}"
    spent = "" if claim is None else f", of which {claim.epsilon:.4g} was spent"
    # Noise of an earlier run that came from a seed weakens this claim as well.
    origin = origin_of(inquiry.scenario)
    channel = inquiry.scenario.resolved()["channel"]
    mark = seeded_mark(privacy.noise, () if origin is None else origin.seeded)
    return (
        f"{budget}{spent}: one training {privacy.unit} of client {inquiry.target}, "
        f"{privacy.place} noise{mark}; {held_against(privacy.place, channel)}"
    )
