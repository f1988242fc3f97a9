"""What `securefl run` does: run a scenario, show its row, and name mistakes in its record."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from securefl.audit.lint import examine
from securefl.data.dicom.progress import watched
from securefl.federation.profile import Profile
from securefl.federation.record import LOST_WITH_GROUP, RoundRecord
from securefl.federation.workers import unavailable
from securefl.runs import api
from securefl.runs.choosing import choosing_words
from securefl.runs.metrics import RunMetrics
from securefl.runs.names import cell_hash
from securefl.runs.result import Result
from securefl.runs.table import Row
from securefl.scenario.claim_words import claim_words
from securefl.scenario.scenario import Scenario, load_scenario
from securefl.ui.display import Display
from securefl.ui.progress import Place, download_step, files_step, local_step, round_step

SECONDS_BETWEEN_BEATS = 0.3
CHARACTERS_OF_A_HASH = 8  # enough to tell the scenarios of one folder apart


def run_scenario(
    path: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    display: Display,
    *,
    workers: int = 1,
    with_profile: bool = False,
) -> None:
    """Runs or resumes a scenario, and shows what it gave.

    Args:
        path: the scenario.
        out: the run folder; None for one under runs/ that is named by the scenario.
        overrides: values that replace those in the file, as "key.path=value".
        display: shows the progress and the results.
        workers: processes that train clients.
        with_profile: whether to show what the rounds cost by stages.

    Raises:
        SecureflError: the run failed, or was refused; see `securefl.runs.api.run`.
    """
    scenario = load_scenario(path, overrides=overrides)
    name = path.stem
    folder = out
    if folder is None:
        folder = Path("runs") / f"{name}-{cell_hash(scenario.resolved())[:CHARACTERS_OF_A_HASH]}"

    profile = Profile() if with_profile else None
    text = _text_with(path, overrides)
    shown = ShownRun(name, display, workers, profile)
    result = shown.play(scenario, folder, text)
    metrics = result.metrics
    display.table(f"{name}, {metrics['rounds']} rounds", [Row(name, [metrics])])
    if claim := claim_words(scenario.resolved()):
        display.line(claim, claim=claim)
    if scenario.data.test_on == "validation":
        display.line(
            "judged on VALIDATION records (data.test_on), which are for choosing, not for results"
        )
    for line in _troubles(metrics, result.rounds):
        display.line(line)
    if profile is not None:
        _show_profile(profile, display)
    _show_mistakes(folder, display)


@dataclass(frozen=True)
class ShownRun:
    """Runs scenarios, and shows how far they are.

    Args:
        name: of the run, for people.
        display: shows the progress.
        workers: processes that train clients.
        profile: gets the cost of the rounds; None where nobody asks.
    """

    name: str
    display: Display
    workers: int = 1
    profile: Profile | None = None

    def play(self, scenario: Scenario, folder: Path, text: str) -> Result:
        """Runs or resumes a scenario in a run folder, which keeps its text."""
        name, display = self.name, self.display
        heartbeat = _Heartbeat(name, scenario, display)

        def show_round(record: RoundRecord) -> None:
            heartbeat.round = record.round + 1
            display.progress(round_step(name, record, scenario.rounds))

        def show_download(file: str, done: int, total: int | None) -> None:
            display.progress(download_step(file, done, total))

        def show_files(done: int, total: int) -> None:
            display.progress(files_step(done, total))

        workers = self.workers
        reason = unavailable() if workers > 1 else ""
        if reason:
            display.line(reason)
            workers = 1
        display.start(name, unit="rounds", total=scenario.rounds)
        try:
            with watched(show_files):
                return api.run(
                    scenario,
                    folder,
                    text=text,
                    on_round=show_round,
                    on_bytes=show_download,
                    on_step=heartbeat.beat,
                    workers=workers,
                    profile=self.profile,
                )
        finally:
            display.finished()


class _Heartbeat:
    """Shows how far a round is, a few times a second at most."""

    def __init__(self, label: str, scenario: Scenario, display: Display) -> None:
        self.round: int | None = None  # that is played; a resumed run knows it after its first one
        self._label = label
        self._scenario = scenario
        self._display = display
        self._shown_at = -math.inf

    def beat(self, client: int, step: int, steps: int) -> None:
        """Shows that a client has taken so many of its local steps."""
        now = time.monotonic()
        if now - self._shown_at < SECONDS_BETWEEN_BEATS:
            return
        self._shown_at = now
        place = Place(self.round, client, self._scenario.clients, step, steps)
        self._display.progress(local_step(self._label, place, self._scenario.rounds))


def _text_with(path: Path, overrides: tuple[str, ...]) -> str:
    """Returns the scenario as given, with the overrides as comments: the folder keeps this text."""
    given = [f"\n# --set {override}" for override in overrides]
    return path.read_text(encoding="utf-8") + "".join(given)


def _troubles(metrics: RunMetrics, rounds: Sequence[RoundRecord]) -> list[str]:
    lines = [
        f"client {client} took no part in the session: {reason}"
        for client, reason in metrics.get("left_out", {}).items()
    ]
    lines += choosing_words(metrics)
    lines += _lost_groups(rounds)
    if abandoned := metrics["abandoned"]:
        verb = "was" if abandoned == 1 else "were"
        lines.append(f"{abandoned} of {metrics['rounds']} rounds {verb} abandoned")
    return lines


def _lost_groups(rounds: Sequence[RoundRecord]) -> Iterator[str]:
    """Yields the clients of each round whose groups were lost, apart from those that failed."""
    for record in rounds:
        lost = [client for client, why in record.absent.items() if why == LOST_WITH_GROUP]
        if lost:
            who = ", ".join(map(str, sorted(lost)))
            number = record.round + 1  # as people count, see `round_step`
            several = "clients" if len(lost) > 1 else "client"
            whose = "were lost with their group" if len(lost) > 1 else "was lost with its group"
            yield f"{several} {who} {whose} in round {number}"


def _show_profile(profile: Profile, display: Display) -> None:
    """Shows the stages of the rounds that were played, the most expensive first."""
    if not profile.costs:
        display.line("no round was played, so that there is nothing to profile")
        return
    stages = sorted(profile.costs.items(), key=lambda stage: -stage[1].wall)
    width = max(len(name) for name in profile.costs)
    lines = [f"{'stage':{width}} {'wall s':>9} {'CPU s':>9} {'bytes':>14}"]
    for name, cost in stages:
        size = f"{cost.bytes:,}" if cost.bytes else ""
        lines.append(f"{name:{width}} {cost.wall:9.3f} {cost.cpu:9.3f} {size:>14}".rstrip())
    display.line("\n".join(lines), stages={name: asdict(cost) for name, cost in stages})


def _show_mistakes(folder: Path, display: Display) -> None:
    (verdict,) = examine(folder)
    for finding in verdict.findings:
        display.line(f"lint: {finding.weight} {finding.name}: {finding.message}")
    mistakes = [f"{finding.name}: {finding.message}" for finding in verdict.findings]
    display.line(f"run folder {folder}", folder=str(folder), lint=mistakes)
