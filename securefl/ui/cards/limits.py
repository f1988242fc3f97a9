"""The limits of a model, as sentences that follow from the facts of its run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from securefl.runs.choosing import choosing_words
from securefl.runs.metrics import RunMetrics

FEW_RECORDS = 100  # of a test set, below which an interval of an accuracy is 20 points wide


@dataclass(frozen=True)
class Ground:
    """The facts that limits follow from.

    Attributes:
        scenario: resolved.
        metrics: of the run.
        end: why the run ended early; empty where it did not.
        is_audited: whether an audit lies in the run folder.
        later: whether there are later versions.
        mistakes: sentences of the lint.
        withholds: whether the card leaves out figures, since a noisy gate decided.
    """

    scenario: Mapping[str, Any]
    metrics: RunMetrics
    end: str
    is_audited: bool
    later: bool
    mistakes: tuple[str, ...]
    withholds: bool = False


def limits(ground: Ground) -> Iterator[str]:
    """Yields one sentence a limit."""
    yield from _of_privacy(ground)
    yield from _of_channel(ground.scenario)
    yield from _of_figures(ground)
    yield from _of_run(ground)


def _of_privacy(ground: Ground) -> Iterator[str]:
    metrics, scenario = ground.metrics, ground.scenario
    if metrics.get("epsilon") is None:
        yield "No differential privacy is claimed: the model may tell about single records."
    else:
        yield from _of_unit(metrics.get("unit"), is_grouped=bool(scenario["data"].get("grouped")))
        if metrics.get("noise") == "seeded":
            yield "Noise came from a seed: anybody with the seed can remove it."
        yield (
            "Figures on test records were computed without noise. Epsilon does not cover them, so"
            " that these records have to be public or consented."
        )
    if ground.later:
        yield "Later versions of this model have spent more: see the card of the last one."
    if not ground.is_audited:
        yield "No adversary was measured on this run: `securefl audit RUN --adversary WHO` does so."
    for mistake in ground.mistakes:
        yield f"The lint says: {mistake}."


def _of_unit(unit: str | None, *, is_grouped: bool) -> Iterator[str]:
    """Yields whom an epsilon does not protect as much as it seems to."""
    versions = "over this version and all before it, released or not"
    if unit == "client":
        yield (
            f"Epsilon is for everything that one client trains on, {versions}."
            " Somebody with records at several clients is protected less."
        )
        return
    yield (
        f"Epsilon is for one record, {versions}. Somebody with several records is protected less."
    )
    if is_grouped:
        yield "The records have groups, such as patients: epsilon is not for a whole group."


def _of_channel(scenario: Mapping[str, Any]) -> Iterator[str]:
    kind = scenario["channel"]["kind"]
    if kind == "plain":
        yield "The channel is plain: the server sees every update."
    if scenario["channel"].get("sketch") is not None:
        yield (
            "A rule chose whose updates count: the server sees how far all updates are apart, and"
            " the protocol of that choice has not been reviewed."
        )
    if kind == "ckks":
        yield "A client that shows its key to the server opens every update."


def _of_figures(ground: Ground) -> Iterator[str]:
    metrics, data = ground.metrics, ground.scenario["data"]
    if data.get("test_on") == "validation":
        yield "Judged on validation records, which are for choosing, not for results."
    if data.get("held_out") is None:
        yield "No site was held out: how the model does at another site was not measured."
    if ground.withholds:
        yield (
            "A noisy gate decided: exact figures on the sites' own records are left out, since its"
            " price is for the noisy number alone. The files of the run still have them."
        )
        return
    records = {"all sites": metrics.get("records")}
    records |= {name: site.get("records") for name, site in metrics.get("sites", {}).items()}
    for name, count in records.items():
        if count is not None and count < FEW_RECORDS:
            yield f"Only {count} test records at {name}: its figures are uncertain."
    if not metrics.get("sites"):
        yield "Test records belong to no site: the quality at each site was not measured."
    yield "Intervals are about the choice of test records alone, not about other sites or times."


def _of_run(ground: Ground) -> Iterator[str]:
    metrics, scenario = ground.metrics, ground.scenario
    if ground.end:
        yield f"The run ended early: {ground.end}."
    if abandoned := metrics.get("abandoned"):
        verb = "was" if abandoned == 1 else "were"
        yield f"{abandoned} of {metrics['rounds']} rounds {verb} abandoned."
    for client, reason in metrics.get("left_out", {}).items():
        yield f"Client {client} took no part: {reason}."
    for words in choosing_words(metrics):
        yield f"{words[:1].upper()}{words[1:]}."
    if scenario.get("attack") is not None:
        yield f"An attack was simulated: {scenario['attack']['name']}."
    yield "This was a run in one place; between hospitals, each site's own policy decides."
