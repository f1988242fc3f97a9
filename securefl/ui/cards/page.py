"""A model card as a page in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"
DIGITS = 3

Card = Mapping[str, Any]


def page(card: Card) -> str:
    """Returns the page of a card."""
    lines = [*_head(card), *_quality(card), *_privacy(card), *_seen(card), *_limits(card)]
    return "\n".join([*lines, *_making(card)]) + "\n"


def _head(card: Card) -> Iterator[str]:
    yield f"# Model card: version {card['version']}"
    yield ""
    yield f"{'In force.' if card['in_force'] else 'Not in force.'} {_decision(card)}"
    yield ""
    data = card["data"]
    yield f"- Records: {data['name']}, {data['clients']} clients ({data['partition']})"
    yield f"- Declared records a site: {_listed(data['declared_records'])}"
    yield f"- Digest of the records: {data['digest'] or 'none, they are published'}"
    if data["crosswalk"]:
        yield "- Words of the sites: led to common ones by a crosswalk"
    if data["harmonise"] is not None:
        steps = ", ".join(map(_step, data["harmonise"]))
        yield f"- Steps of data.harmonise before the model: {steps}"
    if card["starts_from"] is not None:
        yield f"- Trained on from version {card['starts_from']}"
    yield ""


def _step(step: Mapping[str, Any]) -> str:
    """Returns a step of data.harmonise in words: its name, and the keys that are set."""
    keys = [
        f"{key} = {value}" for key, value in step.items() if key != "name" and value is not None
    ]
    return f"{step['name']} ({', '.join(keys)})" if keys else str(step["name"])


def _listed(values: list[int] | None) -> str:
    return "none" if values is None else ", ".join(map(str, values))


def _decision(card: Card) -> str:
    """Returns the gate and its answer in words."""
    decision = card["decision"]
    if decision is None:
        return "The first version, released without a gate."
    if decision.get("gate") is None:
        return f"It was {decision['kind']} {decision.get('reason', 'without a gate')}."
    compared = [
        f"{name.replace('_', ' ')} {_number(decision[name])}"
        for name in ("value", "previous", "noisy_value", "noisy_difference")
        if name in decision
    ]
    return f"It was {decision['kind']} by the gate `{decision['gate']}`: {', '.join(compared)}."


def _quality(card: Card) -> Iterator[str]:
    yield "## Quality on test records, with intervals of 95 %"
    yield ""
    if not card["metrics"]:
        yield "Left out: a noisy gate decided, and its price is for the noisy number alone."
        yield ""
        return
    rows = {"all": card["metrics"], **card["sites"]}
    names = [name for name in card["metrics"] if name != "records"]
    yield f"| site | records | {' | '.join(names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    for site, figures in rows.items():
        cells = [_figure(figures.get(name)) for name in names]
        yield f"| {_cell(site)} | {figures['records']} | {' | '.join(cells)} |"
    yield ""


def _figure(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return NOT_MEASURED
    if figure["interval"] is None:
        return _number(figure["value"])
    low, high = figure["interval"]
    return f"{_number(figure['value'])} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.{DIGITS}f}"


def _privacy(card: Card) -> Iterator[str]:
    yield "## Privacy"
    yield ""
    claim = card["privacy"]
    if claim is None:
        yield "No claim."
        yield ""
        return
    yield (
        f"Epsilon {claim['budget']:g} at delta {claim['delta']:g} for one {claim['unit']}; the "
        f"noise is `{claim['place']}` and from `{claim['noise']}`."
    )
    if claim["adversary"]:
        yield ""
        yield f"{_sentence(claim['adversary'])}{_shares(claim)}"
    yield ""
    yield "| client | spent, all versions so far | left of the budget |"
    yield "|---|---|---|"
    for client, cost in claim["clients"].items():
        yield f"| {client} | {_number(cost['spent'])} | {_number(cost['left'])} |"
    yield ""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _shares(claim: Mapping[str, Any]) -> str:
    """Returns how many shares of noise every sum has at least; nothing where there are none."""
    if claim["n_min"] is None:
        return ""
    return f" Every sum has the noise of {claim['n_min']} honest clients or more."


def _seen(card: Card) -> Iterator[str]:
    yield from _list(
        "Who could see what",
        [f"{who}: {', '.join(kinds) or 'nothing'}" for who, kinds in card["who_saw"].items()],
    )


def _limits(card: Card) -> Iterator[str]:
    yield from _list("Limits", card["limits"])


def _list(title: str, sentences: Sequence[str]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    for sentence in sentences:
        yield f"- {sentence}"
    yield ""


def _making(card: Card) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    code, scenario = card["code"], card["scenario"]
    yield f"- Code: securefl {code['securefl']}, hash `{code['code']}`, Python {code['python']}"
    yield f"- Run `{card['run']}`, {scenario['rounds']} rounds"
    for name, table in scenario.items():
        if isinstance(table, Mapping):
            keys = {key: value for key, value in table.items() if value not in (None, [], {})}
            yield f"- {name}: {', '.join(f'{key} = {value}' for key, value in keys.items())}"
    for at, version, kind in card["history"]:
        yield f"- {at}: version {version} {kind}"


def _cell(text: str) -> str:
    """Returns a name as it may stand in a table."""
    return text.replace("|", r"\|").replace("\n", " ")
