"""The spine's tables: federated beside pooled on Heart, local DP-SGD, and robust rules under sign flip on digits.

Run with `make bench-heart`. Writes docs/results/spine.csv and docs/results/spine.md.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression

from securefl.api import run_cells
from securefl.assemble import load_data
from securefl.data.task import FederatedData, concatenate
from securefl.evaluate import measure
from securefl.runs import Request, RunFolder
from securefl.scenario import Scenario, parse_scenario
from securefl.table import mean_and_error

SEEDS = range(5)
HEART = 'training = { kind = "sgd", batch = 32, lr = 0.5 }\nrounds = 20\n'
DIGITS = """\
rounds = 40
data = { name = "digits", partition = "iid", clients = 10 }
model = { name = "mlp", hidden = [32] }
training = { kind = "sgd", batch = 16, lr = 0.3 }
"""
_DP = ("training.kind=dp_sgd", "privacy.noise=seeded")
_RULES = {
    "FedAvg": (),
    "median": ("defense.rule=median",),
    "trimmed mean f=2": ("defense.rule.name=trimmed_mean", "defense.rule.f=2"),
    "Krum f=2": ("defense.rule.name=krum", "defense.rule.f=2"),
}
_FLIP = ("attack.name=sign_flip", "attack.clients=[0, 1]")


@dataclass(frozen=True)
class Setting:
    """One row of a table: a base scenario and what is overridden."""

    table: str
    label: str
    base: str
    overrides: tuple[str, ...] = ()

    def scenario(self, seed: int) -> Scenario:
        """The setting with one seed for weights, batches and split."""
        return parse_scenario(self.base, overrides=(*self.overrides, f"seed={seed}", f"data.split_seed={seed}"))


def settings() -> list[Setting]:
    """Every row, in the order of the tables."""
    heart = [
        Setting("heart", "pooled", HEART, ("data.partition=pooled",)),
        Setting("heart", "federated", HEART),
        *(Setting("heart", f"local DP, epsilon {e}", HEART, (*_DP, f"privacy.epsilon={e}.0")) for e in (8, 3, 1)),
    ]
    digits = [
        Setting("digits", f"{rule}, {attack}", DIGITS, (*overrides, *attacked))
        for rule, overrides in _RULES.items()
        for attack, attacked in (
            ("no attack", ()),
            ("sign flip x1", (*_FLIP, "attack.scale=1.0")),
            ("sign flip x5", (*_FLIP, "attack.scale=5.0")),
        )
    ]
    return heart + digits


def reference(data: FederatedData) -> tuple[float | None, float | None]:
    """Accuracy and AUC of scikit-learn's logistic regression on the pooled records, C = 100."""
    train = concatenate([site.train for site in data.sites])
    model = LogisticRegression(C=100.0, max_iter=10_000).fit(train.features.numpy(), train.labels.numpy())
    quality = measure(torch.from_numpy(model.predict_proba(data.test.features.numpy())), data.test.labels)
    return quality.accuracy, quality.auc


def majorities(data: FederatedData) -> float:
    """Mean over sites of the test accuracy of predicting the site's own most frequent training class."""
    shares = []
    for site in data.sites:
        if site.test is not None:
            guess = site.train.labels.bincount().argmax()
            shares.append(float((site.test.labels == guess).float().mean()))
    return sum(shares) / len(shares)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/spine"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--readme", type=Path, help="file whose numbers block is written anew")
    chosen = parser.parse_args(arguments)
    rows = settings()
    cells = {f"{row.table}: {row.label} / {seed}": row.scenario(seed) for row in rows for seed in SEEDS}
    folder = RunFolder.create(chosen.out, Request.of(cells, HEART + "\n# and digits:\n" + DIGITS.replace("\n", "\n# ")))
    metrics = run_cells(folder, cells, on_round=lambda label, record: None)
    table = [(row, [metrics[f"{row.table}: {row.label} / {seed}"] for seed in SEEDS]) for row in rows]
    chosen.results.mkdir(parents=True, exist_ok=True)
    with (chosen.results / "spine.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "label", "seed", "metric", "value"])
        for row, runs in table:
            for seed, run in zip(SEEDS, runs, strict=True):
                for name in ("accuracy", "balanced_accuracy", "auc", "majority", "epsilon"):
                    value = run[name]
                    writer.writerow([row.table, row.label, seed, name, "" if value is None else f"{value:.6f}"])
    text = "\n".join(_markdown(table))
    (chosen.results / "spine.md").write_text(text + "\n", encoding="utf-8")
    if chosen.readme is not None:
        begin, end = "<!-- numbers:begin -->", "<!-- numbers:end -->"
        before, _, rest = chosen.readme.read_text(encoding="utf-8").partition(begin)
        tables = text.partition("## ")[2].replace("\n## ", "\n### ")
        after = rest.partition(end)[2]
        chosen.readme.write_text(f"{before}{begin}\n\n### {tables}\n\n{end}{after}", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


def _markdown(table: list[tuple[Setting, list[dict[str, float]]]]) -> Iterator[str]:
    """Both tables, each with its baselines."""
    yield "# The spine"
    yield ""
    yield f"Made by `make bench-heart`; {len(SEEDS)} seeds, each with its own split; mean ± standard error."
    yield "The noise is seeded, so that the table can be made again."
    pooled = next(runs for row, runs in table if row.label == "pooled")
    data = [load_data(Setting("heart", "", HEART).scenario(seed)) for seed in SEEDS]
    references = [reference(one) for one in data]
    yield from ("", "## Heart, logistic regression, 20 rounds, 250 test records", "")
    yield "| | accuracy | AUC | accuracy - pooled | AUC - pooled | epsilon |"
    yield "|---|---|---|---|---|---|"
    for row, runs in table:
        if row.table == "heart":
            gaps = [
                _spread([run[name] - other[name] for run, other in zip(runs, pooled, strict=True)], signed=True)
                for name in ("accuracy", "auc")
            ]
            claim = max((run["epsilon"] for run in runs if run["epsilon"] is not None), default=None)
            yield (
                f"| {row.label} | {_spread([r['accuracy'] for r in runs])} | {_spread([r['auc'] for r in runs])} "
                f"| {gaps[0]} | {gaps[1]} | {'none' if claim is None else f'{claim:.2f}'} |"
            )
    accuracies = [accuracy for accuracy, _ in references if accuracy is not None]
    aucs = [auc for _, auc in references if auc is not None]
    yield f"| scikit-learn, pooled | {_spread(accuracies)} | {_spread(aucs)} | | | none |"
    yield f"| majority class, pooled | {_spread([run['majority'] for run in pooled])} | | | | |"
    yield f"| mean of per-hospital majorities | {_spread([majorities(one) for one in data])} | | | | |"
    yield from ("", "Switzerland's own AUC is not measured: its one negative record is in training.")
    yield from ("", "## digits, MLP 64-32-10, 10 clients, 2 of them flip signs, 40 rounds, 540 test records", "")
    yield "| | accuracy |"
    yield "|---|---|"
    for row, runs in table:
        if row.table == "digits":
            yield f"| {row.label} | {_spread([run['accuracy'] for run in runs])} |"
    mild = _paired(table, "FedAvg, no attack", "FedAvg, sign flip x1")
    yield ""
    yield (
        f"Sign flip x1 costs FedAvg {_spread(mild)} of accuracy: two of ten reversed updates shorten the mean step to "
        "6/10 of its length. x5 turns it round: 8 - 2 x 5 = -2 tenths."
    )


def _paired(table: list[tuple[Setting, list[dict[str, float]]]], one: str, other: str) -> list[float]:
    """Accuracy of one setting minus the other's, seed by seed."""
    runs = {row.label: metrics for row, metrics in table}
    return [a["accuracy"] - b["accuracy"] for a, b in zip(runs[one], runs[other], strict=True)]


def _spread(values: Sequence[float], *, signed: bool = False) -> str:
    middle, error = mean_and_error(values)
    return f"{middle:{'+' if signed else ''}.3f}" + ("" if error is None else f" ± {error:.3f}")


if __name__ == "__main__":
    sys.exit(main())
