"""The final metrics of a run: what metrics.json holds, `run` returns and every table reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, TypedDict, cast

from securefl.federation.record import RoundRecord
from securefl.runs.aftermath import Aftermath, aftermath
from securefl.runs.choosing import Choosing, choosing

if TYPE_CHECKING:  # torch takes seconds to import, which a mere look at a folder need not wait for
    from securefl.data.task import Task
    from securefl.federation.values import State
    from securefl.learning.protocol import Metrics
    from securefl.scenario.assemble.assemble import Assembled
    from securefl.scenario.scenario import Scenario


class Quality(TypedDict, total=False):
    """Quality of a model on some test records; None is not measured.

    mae, rmse and r2 are there only where records have real targets; worst and consensus only where
    the others are means over the models of several nodes; coarse only where some test records had
    coarse labels and judged nothing.
    """

    records: int
    accuracy: float | None
    balanced_accuracy: float | None
    auc: float | None
    majority: float | None
    mae: float | None
    rmse: float | None
    r2: float | None
    worst: float | None
    consensus: float | None
    coarse: int | None


class RunMetrics(Quality, Aftermath, Choosing, total=False):
    """Quality, privacy and cost of a run; None is not measured, or not claimed.

    Folders of earlier versions lack some keys, runs without an attack those of `Aftermath`, and
    runs whose channel chooses no clients those of `Choosing`. Where [engine] asks for stacks, stack
    is the number of clients that trained at once, and unstacked says why it is 1. Where it names a
    device, device is the one that trained.

    `kept_round` is there only where a run ends with its best model: the round that made it.

    `clock` is the simulated time at the end of the run, where there is such a clock.

    `updates` has the updates of each client that are in the model's steps, where a server waits for
    no cohort: there fast clients give more than slow ones.

    `written_gradients` has the types of layers of which DP-SGD wrote down the gradient of every
    record, by Opacus' hooks; it is there only where there were some. All other layers are clipped
    and summed without.

    `corrupt` and `n_min` are there only where noise is added in shares: how many clients may help
    the server, and how many honest shares every sum has at least.
    """

    epsilon: float | None
    delta: float | None
    unit: str | None
    place: str | None
    corrupt: int
    n_min: int
    noise: str | None
    rounds: int
    abandoned: int
    bytes_up: int
    bytes_down: int
    seconds: float
    left_out: dict[str, str]
    epsilons: dict[str, float]
    sites: dict[str, Quality]
    site_models: str
    seeded_before: list[str]
    stack: int
    unstacked: str
    device: str
    kept_round: int
    clock: int
    updates: dict[str, int]
    written_gradients: list[str]


_COUNTS = (
    *("records", "rounds", "abandoned", "bytes_up", "bytes_down"),
    *("corrupt", "n_min"),
    *("stack", "kept_round", "clock"),
)
METRICS_OF_CLASSES = ("accuracy", "balanced_accuracy", "auc", "majority")
METRICS_OF_TARGETS = ("mae", "rmse", "r2")
METRICS_OF_SEVERAL = ("worst", "consensus")
METRICS_WITHIN_SITES = ("auc_within_sites",)  # in results.csv, made from `sites`
_MEASURED = (
    *METRICS_OF_CLASSES,
    *METRICS_OF_TARGETS,
    *METRICS_OF_SEVERAL,
    "coarse",
    "epsilon",
    "delta",
    "seconds",
)
_WORDS = ("unit", "place", "noise", "site_models")
OUTSIDE = "outside the guarantee"  # of a claim: figures of models that were fitted without noise
_TABLES = ("left_out", "epsilons", "sites", "updates", "not_chosen", "not_compared", "named")


def checked_metrics(values: Mapping[str, Any]) -> RunMetrics:
    """Returns the content of metrics.json with its type, once every known key has been looked at.

    Raises:
        ValueError: a value is of another kind than its key says, or there is no accuracy.
    """
    if "accuracy" not in values:  # every version wrote it
        raise ValueError("it has no accuracy")
    _check_kinds(values)
    return cast(RunMetrics, values)


def _check_kinds(values: Mapping[str, Any]) -> None:
    # A key of a later version is passed on as it is: results.csv shows every number.
    _check_kind(values, _COUNTS, int)
    _check_kind(values, _MEASURED, int | float | None)
    _check_kind(values, _WORDS, str | None)
    _check_kind(values, ("unstacked", "device"), str)
    _check_kind(values, _TABLES, dict)
    _check_kind(values, ("seeded_before", "written_gradients", "paired"), list)
    for site, quality in values.get("sites", {}).items():
        if not isinstance(quality, dict):
            raise ValueError(f"sites.{site} is {quality!r}")
        _check_kinds(quality)


def _check_kind(values: Mapping[str, Any], keys: tuple[str, ...], kind: type | UnionType) -> None:
    for key in keys:
        if key in values and not isinstance(values[key], kind):
            raise ValueError(f"{key} is {values[key]!r}")


def final_metrics(
    rounds: Sequence[RoundRecord], scenario: "Scenario", assembled: "Assembled", state: "State"
) -> RunMetrics:
    """Returns quality, privacy and cost of a run, from its records and its last good model."""
    spent = {client: ledger.epsilon() for client, ledger in assembled.ledgers.items()}
    privacy = scenario.privacy if scenario.claims_dp else None
    quality = assembled.federation.evaluate(state)
    sites = assembled.site_metrics(state)
    task = assembled.data.task
    cost: RunMetrics = {
        "epsilon": max(spent.values(), default=None),
        "delta": None if privacy is None else privacy.delta,
        "unit": None if privacy is None else privacy.unit,
        "place": None if privacy is None else privacy.place,
        "noise": None if privacy is None else privacy.noise,
        "rounds": len(rounds),
        "abandoned": sum(record.abandoned for record in rounds),
        "bytes_up": sum(record.bytes_up for record in rounds),
        "bytes_down": sum(record.bytes_down for record in rounds),
        "seconds": sum(record.seconds for record in rounds),
        "left_out": {str(client): reason for client, reason in assembled.left_out.items()},
        "epsilons": {str(client): epsilon for client, epsilon in spent.items()},
        "sites": {name: _quality(metrics, task) for name, metrics in sites.items()},
    }
    if privacy is not None and scenario.facts.n_min is not None:
        cost["corrupt"] = scenario.facts.channel_options["corrupt"]
        cost["n_min"] = scenario.facts.n_min
    if rounds and rounds[-1].clock is not None:
        cost["clock"] = rounds[-1].clock
    if scenario.facts.buffer is not None:
        given = Counter(client for record in rounds for client in record.survivors)
        cost["updates"] = {str(client): given[client] for client in assembled.federation.clients}
    if assembled.own:
        cost["site_models"] = _whose(scenario)
    if scenario.engine is not None and scenario.engine.stack is not None:
        cost["stack"] = assembled.stack.size
        if assembled.stack.reason:
            cost["unstacked"] = assembled.stack.reason
    if scenario.device is not None:
        cost["device"] = assembled.device
    if scenario.facts.trainer.private:
        # Opacus takes a second to import, which other runs need not wait for.
        from securefl.learning.clipping.recorder import written_layers

        if written := written_layers(assembled.model):
            cost["written_gradients"] = list(written)
    # The order of keys is that of metrics.json, which people read from the top.
    attacked = _attacked(rounds, assembled, state, quality)
    return cast(
        RunMetrics, {**_quality(quality, task), **attacked, **_chosen(rounds, assembled), **cost}
    )


def _whose(scenario: "Scenario") -> str:
    """Says with which models the sites are judged, and whether the claim covers them."""
    # Fitted without noise, next to the global model or after it.
    is_uncovered = scenario.facts.algorithm.pulled or scenario.training.fine_tune is not None
    if scenario.claims_dp and is_uncovered:
        return f"each site's own, {OUTSIDE}: in a simulation only"
    return "each site's own"


def _quality(metrics: "Metrics", task: "Task") -> Quality:
    """The metrics of a model; those of real targets, or of several models, where there are some."""
    values = asdict(metrics)
    if not task.regression:
        for name in METRICS_OF_TARGETS:
            del values[name]
    for name in (*METRICS_OF_SEVERAL, "coarse"):
        if values[name] is None:
            del values[name]
    return cast(Quality, values)


def has_targets(metrics: RunMetrics) -> bool:
    """Returns whether the records of a run have real targets instead of classes."""
    return "rmse" in metrics


def _chosen(rounds: Sequence[RoundRecord], assembled: "Assembled") -> Choosing:
    """Whom the channel left out; empty where it chooses no clients."""
    if not assembled.scenario.facts.selects:
        return {}
    return choosing(rounds, assembled.federation.clients)


def _attacked(
    rounds: Sequence[RoundRecord], assembled: "Assembled", state: "State", quality: "Metrics"
) -> Aftermath:
    """What the attack did; empty without an attack."""
    corrupt = assembled.federation.adversary.clients
    if not corrupt:
        return {}
    # With several labels a record, no constant answer has a majority's accuracy. A regression has
    # no majority anyway.
    majority = None if assembled.data.task.multilabel else quality.majority
    # A budget may end a run between two evaluations; the final model is that of its last round.
    judged = list(rounds)
    if judged and not judged[-1].evaluated:
        judged[-1] = replace(judged[-1], accuracy=quality.accuracy, evaluated=True)
    counted = aftermath(
        judged,
        corrupt,
        majority=majority,
        records=quality.records,
        chosen=assembled.scenario.facts.selects,
    )
    counted["attack_success"] = assembled.attack_success(state)
    return counted
