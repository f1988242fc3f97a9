"""Membership, by adversary: PneumoniaMNIST under three channels and local DP, and through rules.

Run by `make bench-audit`; needs pneumoniamnist.npz (downloaded, or under SECUREFL_DATA). Prints two
tables as Markdown; with --write they go to docs/results/adversaries.md.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

from torch import Tensor

from attacks.measures.scores import auc
from benchmarks.experiments.table import Page, Setup, main, markdown, plus_minus
from securefl.audit.bounds import bounds
from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.audit.measure import play_canaries, population, shadows_of
from securefl.audit.membership import Question, of_answers, of_rounds
from securefl.audit.replay import replay
from securefl.data.rehearsal import drawn
from securefl.runs.cache import user_cache
from securefl.scenario.assemble.data import load_data, pool_of
from securefl.scenario.scenario import parse_scenario

IMAGES = """
rounds = 20
weights = "equal"
data = { name = "medmnist:pneumoniamnist", clients = 5, partition = "iid", label_noise = 0.2 }
model = { name = "cnn", channels = [8, 16] }
training = { kind = "sgd", batch = 64, epochs = 3, lr = 0.3 }
"""
NOISE = ("training.kind=dp_sgd", "training.epochs=1", "training.lr=3.0", "privacy.noise=seeded")
RECORDS = "privacy.records=[942, 942, 942, 942, 942]"
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "masked": ("channel.kind=masked",),
    "ckks": ("channel.kind=ckks",),
    "plain, local DP, epsilon 8": (*NOISE, RECORDS, "privacy.epsilon=8.0"),
    "plain, local DP, epsilon 1": (*NOISE, RECORDS, "privacy.epsilon=1.0"),
}


class Coalition(NamedTuple):
    """An adversary: the threat's name, and how many members of it work together."""

    threat: str
    size: int


ADVERSARIES: Mapping[str, Coalition] = {
    "server": Coalition("server", 1),
    "1 client": Coalition("clients", 1),
    "4 clients": Coalition("clients", 4),
    "server + 1 key holder": Coalition("server+key-holder", 1),
    "outsider": Coalition("outsider", 1),
}
RULED = """
rounds = 20
weights = "equal"
data = { name = "digits", clients = 9, partition = "iid", label_noise = 0.2 }
model = { name = "mlp", hidden = [32] }
training = { kind = "sgd", batch = 32, epochs = 3, lr = 0.3 }
"""
RULES: Mapping[str, tuple[str, ...]] = {
    "mean": (),
    "median": ("defense.rule=median",),
    "trimmed mean, f = 2": ("defense.rule.name=trimmed_mean", "defense.rule.f=2"),
    "Krum, f = 2": ("defense.rule.name=krum", "defense.rule.f=2"),
    "NNM + trimmed mean, f = 2": (
        'defense.prefilters=[{name = "nearest_neighbor_mixing", f = 2}]',
        "defense.rule.name=trimmed_mean",
        "defense.rule.f=2",
    ),
}
THROUGH_RULES: Mapping[str, Coalition] = {
    "client": Coalition("clients", 1),
    "server": Coalition("server", 1),
}
RULED_NOISE = (
    "training.kind=dp_sgd",
    "training.epochs=1",
    "privacy.noise=seeded",
    "privacy.epsilon=8.0",
    "privacy.records=[139, 139, 139, 139, 139, 139, 139, 139, 139]",
)
_INTRO = """\
AUC, mean ± standard error; chance is .5. PneumoniaMNIST: three sets of coins, eight shadows, one of
five clients with a fifth of its training labels wrong; 3 local epochs without DP, 1 of DP-SGD with
it. The first table has the attack that does best on average. Under DP it also has the epsilon that
gradient canaries show at 95 %: of Gaussian DP, and no bound where DP-SGD is not Gaussian DP.
Through the rule: digits over nine clients, ten sets of coins, no shadows. An ordinary client uses
alignment with the steps between global models, and the loss under these models.
"""
_COIN_SETS = 3
_RULED_COIN_SETS = 10
_SHADOWS = 8
_FIRST_SHADOW_SEED = 2  # seeds 0 and 1 belong to the audited rehearsal

# For gradient canaries: under plain, all other adversaries see what one of these sees.
_CANARY_ADVERSARIES = ("server", "1 client", "4 clients")

Areas = Mapping[tuple[str, str], float]  # adversary and attack -> AUC
Shadows = dict[int, Tensor]  # seed -> final weights
Overrides = tuple[str, ...]


class Column(NamedTuple):
    """The results of one setting."""

    runs: list[Areas]  # one per set of coins
    epsilons: Mapping[str, float | None]  # adversary -> what canaries prove


def shadow(overrides: Overrides, seed: int) -> Tensor:
    """Returns the final weights of one shadow."""
    inquiry = Inquiry(parse_scenario(IMAGES, overrides=overrides), "outsider")
    scenario = shadow_scenarios(inquiry, _SHADOWS)[seed]
    watchers = [inquiry.watcher(load_data(scenario))]
    replayed = replay(scenario, watchers, on_round=_ignore, remember=user_cache().remember)
    return replayed.weights


def areas(
    text: str,
    overrides: Overrides,
    adversaries: Mapping[str, Coalition],
    seed: int,
    shadows: Shadows,
) -> Areas:
    """Returns the AUC of every attack, for records that one set of coins puts into the target.

    All adversaries watch the same run.
    """
    scenario = parse_scenario(text, overrides=overrides)
    inquiries = {
        name: Inquiry(scenario, threat, size, seed=seed)
        for name, (threat, size) in adversaries.items()
    }
    first = next(iter(inquiries.values()))
    data = load_data(scenario)
    pool = pool_of(scenario, data, 0)
    watchers = [inquiry.watcher(data) for inquiry in inquiries.values()]
    played = replay(first.rehearsal, watchers, on_round=_ignore, remember=user_cache().remember)
    question = Question(
        pool.examples,
        population(data, 0, pool),
        played.assembled.model,
        data.task,
        shadows_of(pool, shadows),
    )
    answers = of_answers(question, played.weights, first.stream("label only").torch_generator())
    inside = drawn(pool, 2 * seed)
    results: dict[tuple[str, str], float] = {}
    for name, knowledge in zip(inquiries, played.knowledge, strict=True):
        scores = dict(of_rounds(question, knowledge))
        if knowledge.asked is not None:
            scores |= answers
        for attack, values in scores.items():
            results[name, attack] = auc(values[inside], values[~inside])
    return results


def proven(overrides: Overrides, adversary: str) -> tuple[str, float | None]:
    """Returns the adversary, and the epsilon that gradient canaries show it.

    The epsilon is at 95 % and of Gaussian DP; it is None if the adversary sees no canaries.
    """
    threat, size = ADVERSARIES[adversary]
    inquiry = Inquiry(parse_scenario(IMAGES, overrides=overrides), threat, size)
    run = play_canaries([inquiry], on_round=_ignore, remember=user_cache().remember)
    scores = run.scores()
    if scores is None:
        return adversary, None
    thresholds = inquiry.stream("thresholds")
    limits = bounds(scores, run.canaries.inside, thresholds, delta=1e-5, confidence=0.95)
    return adversary, limits.gaussian


def _ignore(*ignored: object) -> None:
    """Reports no progress."""


def images(workers: Executor) -> Iterator[str]:
    """Yields the tables of PneumoniaMNIST: the best attack of each adversary, and all attacks."""
    columns = _columns(workers)
    yield from markdown(
        ("adversary", *SETTINGS),
        [[name, *(_best(name, column) for column in columns)] for name in ADVERSARIES],
    )
    yield ""
    yield from _attacks(columns)


def _columns(workers: Executor) -> list[Column]:
    """Measures every setting. Five settings need three sets of shadows: channels do not train."""
    trained: dict[Overrides, Shadows] = {}
    seeds = range(_FIRST_SHADOW_SEED, _FIRST_SHADOW_SEED + _SHADOWS)
    for overrides in SETTINGS.values():
        family = _family(overrides)
        if family not in trained:
            weights = workers.map(partial(shadow, family), seeds)
            trained[family] = dict(zip(seeds, weights, strict=True))
    columns = []
    for setting, overrides in SETTINGS.items():
        sys.stderr.write(f"{setting}: shadows are trained\n")
        shadows = trained[_family(overrides)]
        play = partial(areas, IMAGES, overrides, ADVERSARIES, shadows=shadows)
        runs = list(workers.map(play, range(_COIN_SETS)))
        epsilons: dict[str, float | None] = {}
        if any("epsilon" in override for override in overrides):
            epsilons = dict(workers.map(partial(proven, overrides), _CANARY_ADVERSARIES))
        columns.append(Column(runs, epsilons))
    return columns


def _family(overrides: Overrides) -> Overrides:
    """Returns the overrides that change training: no channel does."""
    return tuple(override for override in overrides if not override.startswith("channel"))


def _best(adversary: str, column: Column) -> str:
    """Returns the AUC of the attack that does best on average, and what canaries prove."""
    attacks = {attack for run in column.runs for name, attack in run if name == adversary}
    if not attacks:
        return "nothing seen"

    def area(attack: str) -> float:
        return statistics.mean(run[adversary, attack] for run in column.runs)

    # Sorted, so that a tie does not depend on the order of a set.
    best = max(sorted(attacks), key=area)
    cell = f"{_mean([run[adversary, best] for run in column.runs])} ({best})"
    epsilon = column.epsilons.get(adversary)
    return cell if epsilon is None else f"{cell}; canaries {epsilon:.2g}"


def _attacks(columns: Sequence[Column]) -> Iterator[str]:
    """Yields the table of every attack of every adversary."""
    names = dict.fromkeys(key for column in columns for run in column.runs for key in run)
    rows = []
    for adversary, attack in names:
        cells = []
        for column in columns:
            cell = "not seen"
            if (adversary, attack) in column.runs[0]:
                cell = _mean([run[adversary, attack] for run in column.runs])
            cells.append(cell)
        rows.append([adversary, attack, *cells])
    yield from markdown(("adversary", "attack", *SETTINGS), rows)


def through_rules(workers: Executor) -> Iterator[str]:
    """Yields the table of membership through the rule, by an ordinary client."""
    rows = []
    server: list[str] = []
    for rule, overrides in RULES.items():
        sys.stderr.write(f"{rule}\n")
        cells = []
        for noise in ((), RULED_NOISE):
            play = partial(areas, RULED, (*overrides, *noise), THROUGH_RULES, shadows={})
            runs = list(workers.map(play, range(_RULED_COIN_SETS)))
            for attack in ("alignment with sums or steps", "trajectory of the global models"):
                cells.append(_mean([run["client", attack] for run in runs]))
            # The server sees updates before the rule, so that one rule stands for all.
            if rule == "mean":
                for attack in ("alignment with its updates", "trajectory of the local models"):
                    server.append(_mean([run["server", attack] for run in runs]))
        rows.append([rule, *cells])
    rows.append(["the server under plain: the update itself", *server])
    rows.append(["chance", *[".500"] * len(server)])
    yield from markdown(
        (
            "rule",
            "no DP: steps",
            "no DP: models",
            "epsilon 8: steps",
            "epsilon 8: models",
        ),
        rows,
    )


def _mean(areas: Sequence[float]) -> str:
    return plus_minus(areas, digits=3)


def measure(setup: Setup) -> Page:
    """Measures both tables."""
    ruled = "\n".join(through_rules(setup.workers))
    pneumonia = "\n".join(images(setup.workers))
    text = f"## PneumoniaMNIST\n\n{pneumonia}\n\n## Membership through the rule\n\n{ruled}\n"
    head = f"# What each adversary measures\n\nMade by `make bench-audit`.\n\n{_INTRO}\n"
    return Page(text, {"adversaries.md": head + text})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
