"""When the means of groups that are dealt anew tell about single clients, in words."""

from collections.abc import Iterator

from securefl.scenario.regions import regions_of
from securefl.scenario.scenario import Scenario


def group_words(scenario: Scenario) -> Iterator[str]:
    """Yields after how many rounds new groups may give every client's mean update."""
    facts = scenario.facts
    groups = facts.channel_options.get("groups")
    if groups is None or facts.channel_options.get("regroup") != "each_round":
        return
    sizes = {region.cohort_size for region in regions_of(scenario, facts).values()}
    # All groups of a round add up to the same total, so that a round after the first adds one
    # equation less than it has groups. Cohorts of a part of the clients have another total each.
    others = groups - 1 if facts.invited == facts.clients or sizes else groups
    rounds = -(-(max(sizes, default=facts.clients) - 1) // others)
    yield (
        "channel.regroup = 'each_round': the server solves the sums of all rounds for every "
        f"client's mean update once their rank is the number of clients, at the earliest after "
        f"{rounds} rounds; rounds.jsonl notes the rank"
    )
