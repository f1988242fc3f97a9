"""What a server sees of groups and sums, and when a run deals the same groups again, in words."""

from collections.abc import Iterator

from securefl.scenario.regions import regions_of
from securefl.scenario.scenario import Scenario


def seen_words(scenario: Scenario) -> str:
    """Returns what the server of a channel learns, as far as it is about this scenario."""
    facts = scenario.facts
    words = facts.channel.threats_with(choice=facts.selects)["server"]
    kind = "block" if facts.channel_options.get("groups") is None else "group"
    words = words.replace("each block's or group's", f"each {kind}'s")
    shown = ", reported weights" if scenario.weights == "reported" else ""
    return words.replace(", reported weights if allowed", shown)


def group_words(scenario: Scenario) -> Iterator[str]:
    """Yields who deals the groups, and when new ones may give every client's mean update."""
    facts = scenario.facts
    groups = facts.channel_options.get("groups")
    if groups is None:
        return
    if facts.channel_options.get("secrets") != "seeded":
        yield (
            "channel.groups: fresh secrets deal them, so that another run of this seed has other "
            "groups; channel.secrets = 'seeded' deals the same again"
        )
    if facts.channel_options.get("regroup") != "each_round":
        return
    sizes = {region.cohort_size for region in regions_of(scenario, facts).values()}
    # No round adds more equations than it has groups. With everybody in each it adds one less after
    # the first, as all groups together have the same total.
    rounds = -(-max(sizes, default=facts.clients) // groups)
    yield (
        "channel.regroup = 'each_round': the server solves the sums of all rounds for every "
        f"client's mean update once their rank is the number of clients, at the earliest after "
        f"{rounds} rounds; rounds.jsonl notes the rank"
    )
