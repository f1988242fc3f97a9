"""Who saw what: the way of an update through a federation, and what each party observed there."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from securefl.errors import RunFolderError, SecureflError
from securefl.scenario import catalog
from securefl.scenario.claim_words import UNITS, held_against
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.boxes import Words, drawn
from securefl.ui.report.figures.drawing import ACCENT, INK, shown
from securefl.ui.report.figures.seen import (
    CLIENTS,
    NETWORK,
    SERVER,
    Kind,
    Observed,
    Party,
    observed_in,
)
from securefl.ui.report.figures.settings import Setting
from securefl.ui.report.table import Table

MOST_LANES = 4
CHARACTERS = 54  # in a line of a box
HEAD = ("party", "what it saw", "fewest clients behind one", "most", "times", "bytes")

_NAMES = {
    CLIENTS: "Clients",
    "adversary": "The attacker, inside its clients",
    NETWORK: "Whoever reads the messages",
    "region": "Servers of the regions",
    "top": "The server above the regions",
    SERVER: "The server",
}
_NOISE = {
    "local": "noise is added here, by each client to its own",
    "distributed": "noise is added here: each client adds its share",
    "central": "noise is added here, to what was opened",
}


def lanes(settings: Sequence[Setting]) -> list[Figure]:
    """Returns a figure of each way that updates took, at most `MOST_LANES`; none without any."""
    ways: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        ways.setdefault(_way(setting), []).append(setting)
    figures: list[Figure] = []
    for group in ways.values():
        if len(figures) < MOST_LANES and (observed := _first(group)) is not None:
            name = f"lane-{len(figures) + 1}" if figures else "lane"
            figures.append(_lane(name, group, observed, alone=len(ways) == 1))
    return figures


def _way(setting: Setting) -> tuple[Any, ...]:
    """Returns what decides who sees what: channel, topology, and the place and unit of noise."""
    scenario = setting.scenario
    topology = scenario.get("topology") or {}
    unit = scenario["privacy"].get("unit") or "example" if setting.claims else None
    return scenario["channel"]["kind"], topology.get("kind"), _place(setting), unit


def _place(setting: Setting) -> str | None:
    privacy = setting.scenario.get("privacy") or {}
    return str(privacy.get("place") or "local") if setting.claims else None


def _shown_first(group: Sequence[Setting]) -> list[Setting]:
    """Returns settings with the largest cohorts first: a single client shows little."""
    return sorted(group, key=lambda setting: -int(setting.scenario["cohort"]["size"]))


def _first(group: Sequence[Setting]) -> Observed | None:
    """Returns what was observed in the first run that has a transcript."""
    for setting in _shown_first(group):
        for run in setting.runs:
            try:
                observed = observed_in(run.cell)
            except RunFolderError:
                continue
            if observed.parties:
                return observed
    return None


def _lane(name: str, group: Sequence[Setting], observed: Observed, *, alone: bool) -> Figure:
    setting = _shown_first(group)[0]
    boxes = list(_boxes(group, observed))
    channel = setting.scenario["channel"]["kind"]
    title = "Who saw what" if alone else f"Who saw what: {_way_in_words(setting)}"
    alt = _alt(channel, observed)
    return Figure(
        name=name,
        title=title,
        caption=_caption(group, observed, alone=alone),
        alt=alt,
        svg=drawn(boxes, name, alt),
        table=_table(observed),
    )


def _way_in_words(setting: Setting) -> str:
    channel, topology, place, _ = _way(setting)
    words = [f"{channel} channel"]
    if topology is not None:
        words.append(f"topology {topology}")
    words.append("no noise" if place is None else f"{place} noise")
    return ", ".join(words)


def _boxes(group: Sequence[Setting], observed: Observed) -> Iterator[list[Words]]:
    """Yields the lines of every box, from the clients down to the model."""
    setting = group[0]
    noisy = _noisy_party(setting)
    for party in observed.parties:
        lines = [Words(_title(party, setting), heavy=True)]
        if party.name == noisy:
            lines += _wrapped(_noise_in_words(group), mark="noise", colour=ACCENT)
        for kind in party.kinds.values():
            lines += _wrapped(_kind_in_words(kind), mark=_mark(kind))
        yield lines
    yield list(_end(group))


def _title(party: Party, setting: Setting) -> str:
    name = _NAMES.get(party.name, shown(party.name, 40))
    if party.name == CLIENTS:
        count = len(party.members)
        name = f"{count} client" + ("s, each" if count > 1 else "")
    if party.name == NETWORK:
        return f"{name} ({setting.scenario['channel']['kind']} channel)"
    return f"{name}"


def _noisy_party(setting: Setting) -> str:
    """Returns who adds the noise; "" without a claim."""
    place = _place(setting)
    if place != "central":
        return CLIENTS if place else ""
    kind = catalog.CHANNELS.get(setting.scenario["channel"]["kind"])
    return CLIENTS if kind is not None and kind.opener != "server" else SERVER


def _noise_in_words(group: Sequence[Setting]) -> str:
    words = _NOISE.get(_place(group[0]) or "", "noise is added here")
    if any(run.get("noise") == "seeded" for setting in group for run in setting.ended):
        words += "; from a seed, so that anybody with the seed can remove it"
    return words


def _kind_in_words(kind: Kind) -> str:
    whose = ""
    if kind.most == 1:
        whose = ", of one client"
    elif kind.most > 1:
        several = f"{kind.fewest} to {kind.most}" if kind.fewest < kind.most else f"{kind.most}"
        whose = f", of {several} clients together"
    # A word of a later version is shown as it is.
    return shown(kind.kind, 80) + whose


def _mark(kind: Kind) -> str:
    if kind.shows_one_client:
        return "one"
    return "several" if kind.is_readable else "sealed"


def _end(group: Sequence[Setting]) -> Iterator[Words]:
    """Yields what comes out, and whom a claim about it holds against."""
    setting = group[0]
    yield Words("The model that comes out", heavy=True)
    if not setting.claims:
        yield from _wrapped("No noise: differential privacy is not claimed.")
        return
    budgets = sorted({float(one.scenario["privacy"]["epsilon"]) for one in group})
    several = " to ".join(f"{budget:g}" for budget in dict.fromkeys((budgets[0], budgets[-1])))
    unit = UNITS.get(_way(setting)[3] or "", "")
    yield from _wrapped(f"epsilon at most {several}, for {unit}", colour=ACCENT)
    try:
        words = held_against(_place(setting) or "local", setting.scenario["channel"])
    except (KeyError, ValueError, SecureflError):
        return
    yield from _wrapped(words)


def _wrapped(words: str, *, mark: str = "", colour: str = INK) -> list[Words]:
    lines = wrap(words, CHARACTERS) or [""]
    return [
        Words(line, mark if not place else "indent", colour) for place, line in enumerate(lines)
    ]


def _caption(group: Sequence[Setting], observed: Observed, *, alone: bool) -> str:
    words = (
        "An update goes from top to bottom; each box lists what that party could see, from the"
        f" transcript of {observed.rounds} rounds."
    )
    if not observed.whole:
        words += " Later rounds are not counted: the transcript is very long."
    if observed.unknown:
        words += f" {observed.unknown} lines that this version cannot read are left out."
    if not alone:
        labels = [shown(setting.label, 60) for setting in group[:3]]
        more = f" and {len(group) - 3} more" if len(group) > 3 else ""
        words += f" It is the same for: {'; '.join(labels)}{more}."
    return words


def _alt(channel: str, observed: Observed) -> str:
    parts = []
    for party in observed.parties:
        kinds = ", ".join(_kind_in_words(kind) for kind in party.kinds.values())
        parts.append(f"{_NAMES.get(party.name, shown(party.name, 40))}: {kinds}")
    return f"What each party saw under the {shown(channel)} channel. " + "; ".join(parts) + "."


def _table(observed: Observed) -> Table:
    rows = [
        (party.name, kind.kind, kind.fewest, kind.most, kind.times, kind.size)
        for party in observed.parties
        for kind in party.kinds.values()
    ]
    return Table(HEAD, rows)
