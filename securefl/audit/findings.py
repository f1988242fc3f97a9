"""What an audit is asked and what it found: written to its folder, drawn, and told in words."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from securefl.audit.exposure.result import Exposure, exposure_facts, headline, told_exposures
from securefl.audit.pictures import draw_pairs
from securefl.audit.threats import threat
from securefl.audit.verdicts import MEANINGS, Line, Stand, facts, overall, told
from securefl.files import write_json


@dataclass(frozen=True)
class Asked:
    """What the command was given; folder holds shadows, verdicts and figures.

    exposure: whether updates are asked for records, labels, a property and sources. pictures: whether reconstructed
    images are kept, beside the records that they are of.
    """

    path: Path
    overrides: tuple[str, ...]
    adversary: str
    colluders: int
    target: int
    shadows: int
    seed: int
    jobs: int
    folder: Path | None
    exposure: bool = True
    pictures: bool = False

    @property
    def command(self) -> str:
        """The command that gives the same verdicts."""
        words = ["securefl", "audit", str(self.path)]
        for override in self.overrides:
            words += ["--set", override]
        numbers = {"target": self.target, "shadows": self.shadows, "seed": self.seed}
        if threat(self.adversary).clients:
            numbers = {"colluders": self.colluders, **numbers}
        words += [
            "--adversary",
            self.adversary,
            *(f"--{name}={value}" for name, value in numbers.items()),
        ]
        words += ["--pictures"] if self.pictures else []
        words += [] if self.exposure else ["--no-exposure"]
        return shlex.join(words if self.folder is None else [*words, f"--out={self.folder}"])

    @property
    def name(self) -> str:
        """What the files of the verdicts are called."""
        clients = f"-{self.colluders}" if threat(self.adversary).clients else ""
        return f"audit-{self.adversary}{clients}-shadows-{self.shadows}-seed-{self.seed}"


@dataclass(frozen=True)
class Findings:
    """Verdicts on the claim of one client, what updates show, notes on what that rests on, and where it was written.

    pictures: the file that holds training records; None without one.
    """

    claim: str
    lines: tuple[Line, ...]
    exposures: tuple[Exposure, ...]
    notes: tuple[str, ...]
    folder: Path
    pictures: Path | None = None

    @property
    def stand(self) -> Stand:
        """The verdict on the claim."""
        return overall(self.lines)


def write(found: Findings, asked: Asked) -> Path | None:
    """Verdicts and figures, no score of a single record; the file of pictures, where there is one.

    Figures of an earlier audit by the same name go, so that none stands beside numbers that it is not of.
    """
    curves = found.folder / f"{asked.name}.svg"
    pictures = found.folder / f"{asked.name}-pictures.svg"
    shown = [(one.attack, one.pictures) for one in found.exposures if one.pictures is not None]
    drawn = {
        curves: any(line.curve is not None for line in found.lines),
        pictures: asked.pictures and bool(shown),
    }
    told_of = {
        "command": asked.command,
        "claim": found.claim,
        "verdict": found.stand.value,
        "lines": [facts(line) for line in found.lines],
        "exposures": [exposure_facts(exposure) for exposure in found.exposures],
        "findings": headlines(found),
        "notes": list(found.notes),
    }
    for path in drawn:
        path.unlink(missing_ok=True)
    write_json(found.folder / f"{asked.name}.json", told_of)
    if drawn[curves]:
        draw(curves, found)
    if drawn[pictures]:
        draw_pairs(pictures, shown)
    return pictures if drawn[pictures] else None


def draw(path: Path, found: Findings) -> None:
    """The ROC of every attack, both axes logarithmic, with what the claim allows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for line in found.lines:
        if line.curve is not None:
            axes.step(
                line.curve.false_positive,
                line.curve.true_positive,
                where="post",
                label=line.attack,
                lw=1,
            )
    rates = torch.logspace(-4, 0, 100, dtype=torch.float64)
    for profile in {line.profile for line in found.lines if line.profile is not None}:
        most = [profile.most_true_positives(min(1.0, rate)) for rate in rates.tolist()]
        axes.plot(rates, most, color="black", lw=1, label="the most that the claim allows")
    axes.plot(rates, rates, color="grey", linestyle=":", label="chance")
    axes.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(1e-4, 1))
    axes.set(xlabel="false positives", ylabel="true positives", title=found.claim)
    axes.legend(fontsize="small")
    figure.savefig(path)
    plt.close(figure)


def headlines(found: Findings) -> list[str]:
    """What the adversary learned beyond guessing, most telling first; one line where it learned nothing."""
    exposed = [headline(one) for one in found.exposures if one.is_finding]
    members = [
        f"membership by {line.attack}: AUC {line.auc:.3f} ± {line.auc_error:.3f}, by guessing .5"
        for line in found.lines
        if line.auc is not None
        and line.auc_error is not None
        and line.auc - 0.5 > 2 * line.auc_error
    ]
    return [*exposed, *members] or ["nothing beyond guessing by these attacks"]


def lines_of(found: Findings) -> Sequence[str]:
    """The findings in words."""
    pictures = [] if found.pictures is None else [f"TRAINING RECORDS are shown in {found.pictures}"]
    return [
        *(f"finding: {line}" for line in headlines(found)),
        *found.notes,
        f"claim: {found.claim}",
        *told(found.lines),
        *(told_exposures(found.exposures) if found.exposures else []),
        f"verdict: {MEANINGS[found.stand]}; written to {found.folder}",
        *pictures,
    ]
