"""What a site keeps and says about the records that judge models."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from securefl.channels.apart import Membership
from securefl.data.task import Examples
from securefl.files import append_line
from securefl.learning.protocol import Metrics
from securefl.privacy.ledger import Ledger
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.evaluation import counting_parts
from securefl.scenario.assemble.public import PublicParts

METRICS = "metrics.jsonl"


def counting_speaker(
    folder: Path,
    public: PublicParts,
    member: Membership,
    judging: Examples | None,
    *,
    ledger: Ledger | None,
    permit: Callable[[int], None],
    charter: Charter | None = None,
    terms: Callable[[int], Path] | None = None,
) -> Speaker | None:
    """Returns what speaks for the counts; None where none leave.

    Args:
        folder: of the site, which gets its own figures.
        public: what every party has.
        member: the site's place in the session.
        judging: its records that judge; None where nothing about them leaves.
        ledger: of the run's figures; None where they leave without noise.
        permit: called with the round before a model is judged; raises where the site forbids it.
        charter: under which sessions begin; without one, a session has begun.
        terms: session -> the file that keeps its terms; None keeps none.

    Raises:
        DataError: the labels do not have the task's form.
        ScenarioError: no noise meets the price.
    """
    if judging is None:
        return None
    parts = counting_parts(
        public,
        member.client,
        judging,
        ledger=ledger,
        on_metrics=partial(_keep_figures, folder / METRICS, public.run),
    )
    return Speaker(parts, member, permit, charter=charter, terms=terms)


def _keep_figures(path: Path, run: str, model: int, metrics: Metrics) -> None:
    """Writes the exact figures of this site alone, for its own people."""
    with suppress(OSError):  # nothing that leaves depends on this file
        append_line(path, {"run": run, "model": model, **asdict(metrics)})
