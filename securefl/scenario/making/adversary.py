"""From a scenario's attack to an adversary, and what it does to its clients' records and gradients."""

from collections.abc import Callable

from torch import Tensor

from securefl.data.task import Examples, FederatedData, Site
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import Bend
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.attack import make_attack, make_bend, make_goal, make_poison


def adversary_of(declared: Declaration, facts: Facts, rule: Rule, weigh: Weigh | None) -> Adversary:
    """The adversary of the scenario, who knows the rule and its weights; nobody without an attack."""
    if (attack := declared.attack) is None:
        return NOBODY
    chosen = declared.defense.rule
    rewrite = make_attack(
        attack.name,
        attack.parameters,
        seed=declared.seed,
        clients=facts.cohort_size,
        rule=rule,
        weigh=weigh,
        krum_f=chosen.parameters.get("f") if chosen.name == "krum" else None,
    )
    return Adversary(frozenset(attack.clients), rewrite, omniscient=attack.knows == "omniscient")


def poisoned(declared: Declaration, data: FederatedData) -> FederatedData:
    """The same data, with the training records of corrupt clients as their attack leaves them.

    Guarantees:
        - No record of an honest client changes, and those of a corrupt one follow from no honest record.
        - Nothing is promised for a corrupt client's own records, which it could send as they are.
    """
    if (attack := declared.attack) is None:
        return data
    poison = make_poison(
        attack.name,
        attack.parameters,
        seed=declared.seed,
        classes=data.task.classes,
        corrupt=attack.clients,
    )
    sites = [
        Site(site.name, Examples(*poison(index, *site.train)), site.test)
        if index in attack.clients
        else site
        for index, site in enumerate(data.sites)
    ]
    return FederatedData(data.task, tuple(sites), data.test)


def bend_of(declared: Declaration, client: int) -> Bend | None:
    """What the attack does to a client's gradients; None for an honest one."""
    if (attack := declared.attack) is None or client not in attack.clients:
        return None
    return make_bend(attack.name, attack.parameters)


def success(
    declared: Declaration, data: FederatedData, judge: Callable[[Tensor], Tensor]
) -> float | None:
    """Of the test records that the attack is after, the share that the model takes for what it wants.

    The judge gives the model's probabilities (n, classes) for features.

    None without such records, and where the model answers what is not finite.
    """
    if (attack := declared.attack) is None or (
        goal := make_goal(attack.name, attack.parameters)
    ) is None:
        return None
    features, wanted = goal(*data.test)
    if not len(features):
        return None
    probabilities = judge(features)
    if not bool(probabilities.isfinite().all()):
        return None
    return float((probabilities.argmax(dim=1) == wanted).double().mean())
