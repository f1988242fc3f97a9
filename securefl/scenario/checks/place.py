"""Whether noise of a whole sum, in shares or added to an opened one, fits the rest."""

from collections import Counter

from securefl.errors import ScenarioError, at_least
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts

_EXAMPLE_RINGS = (32, 64)


def check_place(declared: Declaration, facts: Facts) -> None:
    """Checks what noise of a whole sum needs, before the terms of the channel are computed.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    privacy = declared.privacy
    if privacy is None or not facts.has_common_noise:
        return
    place = f"privacy.place = {privacy.place!r}"
    of_records = privacy.unit == "example"
    if of_records and not facts.trainer.one_sum:
        raise ScenarioError(
            f"{place}: with training.kind = {declared.training.kind!r} a record has a part in "
            "several steps of its site, so that no clip bounds what it does to the sum; use "
            "training.kind = 'clipped_gradient', or place = 'local'"
        )
    if declared.topology is not None:
        raise ScenarioError(
            f"{place} needs one server, and topology.kind = {declared.topology.kind!r}: remove the "
            "table [topology], or set place = 'local'"
        )
    if declared.weights == "reported":
        raise ScenarioError(
            f"{place} needs public weights, by which the noise is sized; use weights = 'declared' "
            "or 'equal'"
        )
    _check_rule(declared, facts, place)
    if privacy.place == "distributed":
        _check_shares(declared, facts, of_records=of_records)


def _check_rule(declared: Declaration, facts: Facts, place: str) -> None:
    """Checks that the noise covers everything that the rule is applied to."""
    grouped = facts.channel_options.get("groups") is not None
    if grouped and facts.has_central_noise:
        raise ScenarioError(
            f"{place}: the noise is added to one sum, and channel.groups opens several; remove "
            "groups, or set place = 'distributed' or 'local'"
        )
    # Shares make up the whole noise in each group by itself, sized for the smallest one. A client
    # is in one group a round, so it pays for one sum, and whatever a rule makes of the sums is
    # post-processing. A mean of clients with noise that only their sum covers is another matter.
    if grouped:
        return
    if facts.prefilters or not facts.rule.entry.linear:
        name = facts.prefilters[0].name if facts.prefilters else facts.rule.name
        raise ScenarioError(
            f"{place}: the noise is sized for the mean, and does not cover {name}; use "
            "defense.rule = 'mean' without prefilters, or place = 'local'"
        )


def _check_shares(declared: Declaration, facts: Facts, *, of_records: bool) -> None:
    """Checks that a channel adds up shares of noise, and that few enough clients know them."""
    kind = declared.channel.kind
    if facts.channel.release is None:
        able = [name for name, one in catalog.CHANNELS.items() if one.release is not None]
        raise ScenarioError(
            f"privacy.place = 'distributed' needs a sum in which shares of noise add up, and "
            f"{kind} has none; use channel.kind = {' or '.join(map(repr, able))}, or place = "
            "'central' or 'local'"
        )
    ring = facts.channel_options.get("ring")
    if of_records and ring not in _EXAMPLE_RINGS:
        raise ScenarioError(
            f"channel.ring = {ring} is too coarse for noise that protects single records; use 32"
        )
    corrupt = facts.channel_options.get("corrupt")
    attack = declared.attack
    if attack is not None and corrupt is not None and len(attack.clients) > corrupt:
        raise ScenarioError(
            f"attack.clients: {len(attack.clients)} corrupt clients know their shares of the "
            f"noise, and channel.corrupt = {corrupt} allows for fewer; raise channel.corrupt"
        )


def check_cut(declared: Declaration, facts: Facts) -> None:
    """Checks that the channel cuts no coordinate of an update that gets central noise.

    Where shares of noise are added, the terms of the channel say so themselves.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    privacy = declared.privacy
    if privacy is None or privacy.place != "central" or not facts.common_noise:
        return
    clip = facts.channel_options.get("clip")
    longest = facts.longest_update
    if facts.channel.lossy and clip is not None and clip < longest:
        raise ScenarioError(
            f"channel.clip = {clip:g} would cut updates off, whose coordinates may be "
            f"{at_least(longest)}: {_length_words(declared)}; use channel.clip = "
            f"{at_least(longest)} or more"
        )


def _length_words(declared: Declaration) -> str:
    """Returns what bounds an update, in the keys of the scenario."""
    if not declared.protects_clients:
        return "that is training.clip / training.sample_rate"
    if declared.training.clip_quantile is None:
        return "that follows from training.clip and, with coins, from cohort.size"
    return (
        "with training.clip_quantile updates are sent in units of their clip, and with coins "
        "divided by the share of the clients that cohort.size is"
    )


def check_survivors(declared: Declaration, facts: Facts) -> None:
    """Checks that simulated failures leave every sum as many shares as were calibrated for.

    It needs terms of the channel that fit.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    privacy = declared.privacy
    if privacy is None or privacy.place != "distributed" or not facts.common_noise:
        return
    simulate, fewest = declared.simulate, facts.channel.fewest
    if fewest is None or facts.invited < facts.clients:
        return  # who of a drawn cohort fails shows when it is drawn
    if facts.channel_options.get("groups") is not None:
        return  # a group with too few shares is lost by itself, and the others go on
    needed = fewest(facts.terms, facts.invited)
    missing = set(simulate.missing)
    silent = {(drop.round, drop.client) for drop in simulate.drop}
    lost = Counter(round for round, client in silent if client not in missing)
    for round, number in sorted({0: 0, **lost}.items()):
        rest = facts.invited - len(missing) - number
        if rest < needed:
            raise ScenarioError(
                f"simulate: {rest} of {facts.invited} clients are left in round {round}, and a sum "
                f"with enough shares of noise needs {needed}; let fewer fail, or set privacy.place "
                "= 'local'"
            )
