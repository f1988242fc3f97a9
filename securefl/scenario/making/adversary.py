"""From the table [attack] to an adversary, its records and its gradients."""

from collections.abc import Callable, Collection

from torch import Tensor

from securefl.data.task import Examples, FederatedData, Site
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import Bend
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.attack import make_attack, make_bend, make_goal, make_poison
from securefl.scenario.making.rule import over_groups, weighing_groups
from securefl.scenario.making.selection import Guess


def adversary_of(
    declared: Declaration,
    facts: Facts,
    rule: Rule,
    weigh: Weigh | None,
    *,
    among: Collection[int] | None = None,
) -> Adversary:
    """Returns the adversary of a scenario, which knows the rule.

    Without an attack it is `NOBODY`.

    Args:
        declared: has the attack.
        facts: of the declaration.
        rule: that the adversary wants to defeat.
        weigh: the rule's own weights; None where it gives none.
        among: the clients that meet under the rule; all by default.
    """
    attack = declared.attack
    if attack is None or facts.attack is None:
        return NOBODY
    corrupt = frozenset(attack.clients)
    if among is not None:
        corrupt &= frozenset(among)
    groups = facts.channel_options.get("groups")
    if groups is not None:
        rule = over_groups(rule, groups)
        weigh = None if weigh is None else weighing_groups(weigh, groups)
    # The adversary knows the rule that is in force, and plans with its f.
    is_target = facts.rule.name == facts.attack.entry.against
    rewrite = make_attack(
        facts.attack,
        seed=declared.seed,
        clients=facts.cohort_size if among is None else len(among),
        rule=rule,
        weigh=weigh,
        krum_f=facts.rule.parameters.get("f") if is_target else None,
        guess=_guess_of(declared, facts),
    )
    return Adversary(corrupt, rewrite, omniscient=attack.knows == "omniscient")


def _guess_of(declared: Declaration, facts: Facts) -> Guess | None:
    """Returns the adversary's guess at the channel's own choice; None where there is no choice."""
    size, selection = facts.channel_options.get("sketch"), facts.selection
    if size is None or selection is None:
        return None
    return Guess(selection, size, declared.seed)


def poisoned(declared: Declaration, facts: Facts, data: FederatedData) -> FederatedData:
    """Returns the same data, with the training records of corrupt clients as attacked.

    Guarantees:
        - No record of an honest client changes, and no honest record decides how a corrupt one
          changes.
        - Nothing is promised for a corrupt client's own records, which it could send as they are.
    """
    attack = declared.attack
    if attack is None or facts.attack is None:
        return data
    poison = make_poison(
        facts.attack,
        seed=declared.seed,
        classes=data.task.classes,
        corrupt=attack.clients,
    )
    sites = list(data.sites)
    for client in attack.clients:
        site = sites[client]
        sites[client] = Site(site.name, Examples(*poison(client, *site.train)), site.test)
    return FederatedData(data.task, tuple(sites), data.test)


def bend_of(declared: Declaration, facts: Facts, client: int) -> Bend | None:
    """Returns the attack on a client's gradients; None for an honest client."""
    attack = declared.attack
    if attack is None or facts.attack is None or client not in attack.clients:
        return None
    return make_bend(facts.attack)


def success(facts: Facts, data: FederatedData, judge: Callable[[Tensor], Tensor]) -> float | None:
    """Returns the share of targeted test records on which the attack succeeds.

    Args:
        facts: hold the attack.
        data: holds the test records.
        judge: features -> the model's probabilities (n, classes).

    Returns:
        From 0 to 1; None where no record is targeted, or the model's answers are not finite.
    """
    goal = None if facts.attack is None else make_goal(facts.attack)
    if goal is None:
        return None
    features, label = goal(*data.test)
    if not len(features):
        return None
    probabilities = judge(features)
    if not bool(probabilities.isfinite().all()):
        return None
    return float((probabilities.argmax(dim=1) == label).double().mean())
