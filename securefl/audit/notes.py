"""The notes of an audit: what its findings rest on, and what they do not say."""

from securefl.audit.bounds import Claim
from securefl.audit.inquiry import Inquiry
from securefl.privacy.chain import seeded_mark
from securefl.runs.origin import origin_of
from securefl.scenario.claim_words import held_against


def notes_on(inquiry: Inquiry) -> list[str]:
    """Returns who looks, what that party sees, and how far the findings reach."""
    notes = [_who(inquiry)]
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


def _who(inquiry: Inquiry) -> str:
    """The adversary and everything it sees, in one line."""
    scenario = inquiry.scenario
    sees = inquiry.threat.sees(
        scenario.channel.kind,
        reported=scenario.weights == "reported",
        topology=scenario.facts.topology,
        choice=scenario.facts.selects,
    )
    sight = ", ".join(sees) or "nothing but what is published about every run"
    clients = ""
    if inquiry.coalition:
        clients = f" (client {', '.join(map(str, inquiry.coalition))})"
    return f"{inquiry.adversary} is {inquiry.threat.who}{clients}; it sees: {sight}"


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
