"""What a page says first: cells that failed, are missing or were interrupted, and the like."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from securefl.runs.cell import CellState
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request
from securefl.ui.report.looks import Group, Look
from securefl.ui.report.sharing import named, reason_in_short

MAX_REASONS = 5  # that are listed; the table has the others

Weight = Literal["bad", "warn", "note"]
WEIGHTS: Sequence[Weight] = ("bad", "warn", "note")  # the gravest first


class Notice(NamedTuple):
    """Something that a reader has to know before the numbers.

    Attributes:
        weight: "bad" for a failure, "warn" for missing results, "note" for others.
        text: one sentence.
        reasons: why, a line each.
    """

    weight: Weight
    text: str
    reasons: Sequence[str] = ()


def notices(
    request: Request, groups: Sequence[Group], environment: Mapping[str, Any]
) -> list[Notice]:
    """Returns what has to be said before the numbers, the gravest first; empty for nothing."""
    looks = list({look.use.cell: look for group in groups for look in group.looks}.values())
    if not looks:
        return [Notice("warn", "The folder is empty: no run was asked of it.")]
    found = [
        *_failures(looks),
        *_unended(request, looks),
        *_spent(looks),
        *_abandoned(looks),
        *_not_finite(looks),
        *_versions(request, looks, environment),
        *_single_seeds(groups),
    ]
    return sorted(found, key=lambda notice: WEIGHTS.index(notice.weight))


def trouble(looks: Sequence[Look]) -> str:
    """Returns in one sentence how many cells are in a state other than done; "" for none."""
    counts = Counter(look.status.state for look in looks)
    words = {
        CellState.FAILED: "failed",
        CellState.OUT_OF_BUDGET: "ran out of the privacy budget",
        CellState.RUNNING: "began and did not end",
        CellState.NEW: "did not begin",
    }
    parts = [f"{counts[state]} {words[state]}" for state in words if counts[state]]
    if not parts:
        return ""
    if len(looks) == 1:
        (state,) = counts
        return f"The run {words[state]}."
    total = f"Of {len(looks)} cells "
    return f"{total}{' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}."


def _failures(looks: Sequence[Look]) -> Iterator[Notice]:
    failed = [look for look in looks if look.status.state is CellState.FAILED]
    if not failed:
        return
    text = f"{_share(failed, looks)} failed. The same command tries again."
    yield Notice("bad", text, _reasons(failed, alone=len(looks) == 1))


def _unended(request: Request, looks: Sequence[Look]) -> Iterator[Notice]:
    running = [look for look in looks if look.status.state is CellState.RUNNING]
    new = [look for look in looks if look.status.state is CellState.NEW]
    if running:
        yield Notice(
            "warn",
            f"{_share(running, looks)} began and did not end: still running, hung or interrupted. "
            "The same command goes on from the last round that was kept.",
            [_round(look, alone=len(looks) == 1) for look in running[:MAX_REASONS]],
        )
    if len(new) == len(looks):
        yield Notice("warn", "Nothing has run yet.")
    elif new:
        what = "The study" if request.study is not None else "The folder"
        ended = sum(look.status.state.ended for look in looks)
        yield Notice(
            "warn",
            f"{what} is unfinished: {ended} of {len(looks)} cells ended, and {len(new)} did not "
            "begin. Rows without all their seeds may change.",
        )


def _spent(looks: Sequence[Look]) -> Iterator[Notice]:
    spent = [look for look in looks if look.status.state is CellState.OUT_OF_BUDGET]
    if spent:
        yield Notice(
            "warn",
            f"{_share(spent, looks)} ran out of the privacy budget, and ended with the last good "
            "model.",
            _reasons(spent, alone=len(looks) == 1),
        )


def _abandoned(looks: Sequence[Look]) -> Iterator[Notice]:
    metrics = [look.metrics for look in looks if look.metrics is not None]
    abandoned = sum(run.get("abandoned", 0) for run in metrics)
    if abandoned:
        rounds = sum(run.get("rounds", 0) for run in metrics)
        verb = "was" if abandoned == 1 else "were"
        yield Notice(
            "warn",
            f"{abandoned} of {rounds} rounds {verb} abandoned: the model stayed as it was in them.",
        )


def _not_finite(looks: Sequence[Look]) -> Iterator[Notice]:
    broken = [look for look in looks if look.not_finite]
    if broken:
        yield Notice(
            "bad",
            f"{_share(broken, looks)} gave results that are not finite (NaN or infinite), shown as "
            "not measured: the training diverged.",
        )


def _versions(
    request: Request, looks: Sequence[Look], environment: Mapping[str, Any]
) -> Iterator[Notice]:
    codes = {look.use.code for look in looks if look.use.code and look.status.state.ended}
    codes |= {str(other.get("code")) for other in environment.get("resumed_under", [])}
    made_by = str(environment.get("code"))
    if request.study is None or not codes:
        codes.add(made_by)
    if len(codes) > 1:
        yield Notice(
            "warn",
            f"The results were made by {len(codes)} versions of the code: "
            f"{', '.join(sorted(codes))}. Differences between rows may be differences between "
            "versions.",
        )
    elif code_hash() not in codes:
        (code,) = codes
        # The cells of a study are named by the version that made them, those of a run are not.
        again = " The same command would make new ones." if request.study is not None else ""
        yield Notice(
            "note",
            f"The results were made by another version of the code ({code}) than this page "
            f"({code_hash()}).{again}",
        )


def _single_seeds(groups: Sequence[Group]) -> Iterator[Notice]:
    if any(group.runs for group in groups) and all(len(group.looks) == 1 for group in groups):
        yield Notice(
            "note", "One seed: there are no error bars, and small differences may be chance."
        )


def _share(some: Sequence[Look], looks: Sequence[Look]) -> str:
    if len(looks) == 1:
        return "The run"
    return f"{len(some)} of {len(looks)} cells"


def _reasons(looks: Sequence[Look], *, alone: bool) -> list[str]:
    """The reasons, each once, with the rows that share it."""
    rows: dict[str, list[str]] = {}
    for look in looks:
        reason = reason_in_short(look.status.reason or "no reason was kept")
        if look.status.round is not None:
            reason = f"{reason} (in round {look.status.round + 1})"
        rows.setdefault(reason, []).append(look.use.label)
    lines = []
    for reason, labels in list(rows.items())[:MAX_REASONS]:
        others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        lines.append(reason if alone else f"{named(labels[0])}{others}: {reason}")
    if len(rows) > MAX_REASONS:
        lines.append(f"and {len(rows) - MAX_REASONS} other reasons, in the table")
    return lines


def _round(look: Look, *, alone: bool) -> str:
    rounds = look.scenario.get("rounds")
    place = "before its first round"
    if look.status.round is not None:
        place = f"in round {look.status.round + 1} of {rounds}"
    return place if alone else f"{named(look.use.label)}: {place}"
