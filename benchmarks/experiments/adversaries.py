"""What each adversary measures: PneumoniaMNIST under three channels and local DP, and membership through the rule.

Run by `make bench-audit`; needs pneumoniamnist.npz (downloaded, or under SECUREFL_DATA). Prints two tables as Markdown;
with --write they go to docs/results/adversaries.md.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from attacks.measures.scores import auc
from securefl.audit.bounds import bounds
from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.audit.measure import population, shadows_of, sing
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
ADVERSARIES: Mapping[str, tuple[str, int]] = {
    "server": ("server", 1),
    "1 client": ("clients", 1),
    "4 clients": ("clients", 4),
    "server + 1 key holder": ("server+key-holder", 1),
    "outsider": ("outsider", 1),
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
RULED_NOISE = (
    "training.kind=dp_sgd",
    "training.epochs=1",
    "privacy.noise=seeded",
    "privacy.epsilon=8.0",
    "privacy.records=[139, 139, 139, 139, 139, 139, 139, 139, 139]",
)
_INTRO = """\
AUC, mean ± standard error; chance is .5. PneumoniaMNIST: three sets of coins, eight shadows, one of five clients with a
fifth of its training labels wrong; 3 local epochs without DP, 1 of DP-SGD with it. In the first table the attack that
does best on average, and under DP what gradient canaries look like at 95 %: the epsilon of Gaussian DP, no bound where
DP-SGD is not. Through the rule: digits over nine clients, ten sets of coins, no shadows, an ordinary client by
alignment with the steps between global models, and by the loss under these models.
"""
_COINS, _SHADOWS = 3, 8
_RULED_COINS = 10
_LOOKING = (
    "server",
    "1 client",
    "4 clients",
)  # for gradient canaries; under plain the others see what these do
Areas = Mapping[tuple[str, str], float]  # adversary and attack -> AUC


def shadow(overrides: tuple[str, ...], seed: int) -> Tensor:
    """The final weights of one shadow."""
    torch.set_num_threads(1)
    inquiry = Inquiry(parse_scenario(IMAGES, overrides=overrides), "outsider")
    scenario = shadow_scenarios(inquiry, _SHADOWS)[seed]
    watchers = [inquiry.watcher(load_data(scenario))]
    return replay(scenario, watchers, on_round=_nothing, remember=user_cache().remember).weights


def areas(
    text: str,
    overrides: tuple[str, ...],
    who: Mapping[str, tuple[str, int]],
    seed: int,
    shadows: dict[int, Tensor],
) -> dict[tuple[str, str], float]:
    """Adversary and attack -> AUC, about the records that one set of coins put into the target."""
    torch.set_num_threads(1)
    scenario = parse_scenario(text, overrides=overrides)
    asked = {
        name: Inquiry(scenario, threat, count, seed=seed) for name, (threat, count) in who.items()
    }
    first, data = next(iter(asked.values())), load_data(scenario)
    pool = pool_of(scenario, data, 0)
    watchers = [inquiry.watcher(data) for inquiry in asked.values()]
    played = replay(first.rehearsal, watchers, on_round=_nothing, remember=user_cache().remember)
    theirs = shadows_of(pool, shadows)
    question = Question(
        pool.examples, population(data, 0, pool), played.assembled.model, data.task, theirs
    )
    answers = of_answers(question, played.weights, first.stream("label only").torch_generator())
    inside, found = drawn(pool, 2 * seed), dict[tuple[str, str], float]()
    for name, knowledge in zip(asked, played.knowledge, strict=True):
        scores = of_rounds(question, knowledge) | (answers if knowledge.asked is not None else {})
        found |= {(name, attack): auc(one[inside], one[~inside]) for attack, one in scores.items()}
    return found


def proven(overrides: tuple[str, ...], adversary: str) -> tuple[str, float | None]:
    """The adversary and the epsilon that gradient canaries show it at 95 % (Gaussian DP); None where they show none."""
    torch.set_num_threads(1)
    threat, count = ADVERSARIES[adversary]
    inquiry = Inquiry(parse_scenario(IMAGES, overrides=overrides), threat, count)
    scores, canaries, _ = sing(inquiry, on_round=_nothing, remember=user_cache().remember)
    if scores is None:
        return adversary, None
    found = bounds(
        scores, canaries.inside, inquiry.stream("thresholds"), delta=1e-5, confidence=0.95
    )
    return adversary, found.gaussian


def _nothing(*told: object) -> None:
    """Rounds pass unheard."""


def images(workers: Executor) -> Iterator[str]:
    """The table of PneumoniaMNIST, one line an adversary."""
    yield "| adversary | " + " | ".join(SETTINGS) + " |"
    yield "|---" * (1 + len(SETTINGS)) + "|"
    trained: dict[tuple[str, ...], dict[int, Tensor]] = {}
    for overrides in SETTINGS.values():
        family = tuple(one for one in overrides if not one.startswith("channel"))
        if family not in trained:
            seeds = range(2, 2 + _SHADOWS)
            trained[family] = dict(
                zip(seeds, workers.map(partial(shadow, family), seeds), strict=True)
            )
    columns = []
    for setting, overrides in SETTINGS.items():
        sys.stderr.write(f"{setting}: shadows are trained\n")
        family = tuple(one for one in overrides if not one.startswith("channel"))
        play = partial(areas, IMAGES, overrides, ADVERSARIES, shadows=trained[family])
        runs = list(workers.map(play, range(_COINS)))
        claims = any("epsilon" in one for one in overrides)
        shown = dict(workers.map(partial(proven, overrides), _LOOKING)) if claims else {}
        columns.append((runs, shown))
    for adversary in ADVERSARIES:
        yield (
            f"| {adversary} | "
            + " | ".join(_cell(adversary, runs, shown) for runs, shown in columns)
            + " |"
        )
    yield ""
    yield from _attacks(columns)


def _cell(adversary: str, runs: Sequence[Areas], shown: Mapping[str, float | None]) -> str:
    """The AUC of the attack that does best on average, its name, and what canaries show."""
    attacks = {attack for run in runs for name, attack in run if name == adversary}
    if not attacks:
        return "nothing seen"
    best = max(
        sorted(attacks), key=lambda attack: statistics.mean(run[adversary, attack] for run in runs)
    )
    epsilon = shown.get(adversary)
    proof = "" if epsilon is None else f"; canaries {epsilon:.2g}"
    return f"{_mean([run[adversary, best] for run in runs])} ({best}){proof}"


def _attacks(columns: Sequence[tuple[Sequence[Areas], object]]) -> Iterator[str]:
    """Every attack of every adversary."""
    yield "| adversary | attack | " + " | ".join(SETTINGS) + " |"
    yield "|---" * (2 + len(SETTINGS)) + "|"
    for name, attack in dict.fromkeys(key for runs, _ in columns for run in runs for key in run):
        cells = [
            _mean([run[name, attack] for run in runs]) if (name, attack) in runs[0] else "not seen"
            for runs, _ in columns
        ]
        yield f"| {name} | {attack} | {' | '.join(cells)} |"


def through_rules(workers: Executor) -> Iterator[str]:
    """The table of membership through the rule, by an ordinary client."""
    yield "| rule | no DP: steps | no DP: models | epsilon 8: steps | epsilon 8: models |"
    yield "|---|---|---|---|---|"
    who = {"client": ("clients", 1), "server": ("server", 1)}
    plain: list[str] = []
    for rule, chosen in RULES.items():
        sys.stderr.write(f"{rule}\n")
        cells = []
        for noise in ((), RULED_NOISE):
            runs = list(
                workers.map(
                    partial(areas, RULED, (*chosen, *noise), who, shadows={}), range(_RULED_COINS)
                )
            )
            for attack in ("alignment with sums or steps", "trajectory of the global models"):
                cells.append(_mean([run["client", attack] for run in runs]))
            if rule == "mean":
                for attack in ("alignment with its updates", "trajectory of the local models"):
                    plain.append(_mean([run["server", attack] for run in runs]))
        yield f"| {rule} | {' | '.join(cells)} |"
    yield f"| the server under plain: the update itself | {' | '.join(plain)} |"
    yield "| chance | .500 | .500 | .500 | .500 |"


def _mean(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", type=Path, help="folder for adversaries.md")
    chosen = parser.parse_args(arguments)
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as workers:
        ruled = "\n".join(through_rules(workers))
        seen = "\n".join(images(workers))
    text = f"## PneumoniaMNIST\n\n{seen}\n\n## Membership through the rule\n\n{ruled}\n"
    sys.stdout.write(text)
    if chosen.write is not None:
        head = f"# What each adversary measures\n\nMade by `make bench-audit`.\n\n{_INTRO}\n"
        (chosen.write / "adversaries.md").write_text(head + text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
