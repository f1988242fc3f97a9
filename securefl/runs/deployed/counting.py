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
    ledgers: Path,
    permit: Callable[[int], None],
    terms: Callable[[int], Path] | None = None,
) -> Speaker | None:
    """Returns what speaks for the counts; None where none leave.

    Each run has a ledger of its own: its price bounds the figures of one federation.

    Args:
        folder: of the site, which gets its own figures.
        public: what every party has.
        member: the site's place in the session.
        judging: its records that judge; None where nothing about them leaves.
        ledgers: folder of the ledgers of one data set.
        permit: called with the round before a model is judged; raises where the site forbids it.
        terms: session -> the file that keeps its terms; None keeps none.

    Raises:
        DataError: the labels do not have the task's form.
        LedgerError: the ledger is damaged or was kept under other terms.
    """
    if judging is None:
        return None
    parts = counting_parts(
        public,
        member.client,
        judging,
        ledger=ledgers / f"{public.run}.jsonl",
        on_metrics=partial(_keep_figures, folder / METRICS, public.run),
    )
    return Speaker(parts, member, permit, terms=terms)


def _keep_figures(path: Path, run: str, model: int, metrics: Metrics) -> None:
    """Writes the exact figures of this site alone, for its own people."""
    with suppress(OSError):  # nothing that leaves depends on this file
        append_line(path, {"run": run, "model": model, **asdict(metrics)})
