"""Findings of all parties as one table: a row an attack, a column an adversary."""

from collections.abc import Iterator, Mapping, Sequence

from securefl.audit.exposure.result import NO_EVIDENCE, Exposure
from securefl.audit.findings import NOTHING, Findings
from securefl.audit.lines import MEANINGS, Line, Verdict
from securefl.audit.verdicts import worst

MARK = " *"  # behind the score of an attack that beats guessing
LEGEND = (
    "* better than guessing beyond its error; attacks on membership are shown by their AUC, "
    "of which guessing has .5; an empty cell is an attack that this party cannot run"
)
_SEPARATORS = "-+"  # at which a long name of an adversary goes on in the line below


def party_lines(by_adversary: Mapping[str, Findings]) -> Iterator[str]:
    """Yields the findings of several adversaries in words: headlines first, verdicts last."""
    yield from _headlines(by_adversary)
    first = next(iter(by_adversary.values()))
    yield f"claim: {first.claim}"
    yield from party_table(by_adversary)
    yield LEGEND
    if any(findings.exposures for findings in by_adversary.values()):
        yield NO_EVIDENCE
    yield from _verdicts(by_adversary, first)


def _headlines(by_adversary: Mapping[str, Findings]) -> Iterator[str]:
    """One line a finding, with the parties that share it to the last digit."""
    parties: dict[str, list[str]] = {}
    for name, findings in by_adversary.items():
        for headline in findings.headlines:
            if headline != NOTHING:
                names_of_headline = parties.setdefault(headline, [])
                names_of_headline.append(name)
    for headline, names in parties.items():
        yield f"finding: {', '.join(names)}: {headline}"
    if not parties:
        yield f"finding: {NOTHING}"


def _verdicts(by_adversary: Mapping[str, Findings], first: Findings) -> Iterator[str]:
    parties: dict[Verdict, list[str]] = {}
    for name, findings in by_adversary.items():
        parties.setdefault(findings.verdict, []).append(name)
    # With one verdict for all, the last line says it already.
    if len(parties) > 1:
        for verdict, names in parties.items():
            yield f"{MEANINGS[verdict]} ({', '.join(names)})"
    yield f"verdict: {MEANINGS[worst(parties)]}; written to {first.folder}"


def party_table(by_adversary: Mapping[str, Findings]) -> Iterator[str]:
    """Yields the table: attacks that measured nothing of any party are left out."""
    columns = [_cells(findings) for findings in by_adversary.values()]
    head, *more = _wrapped(list(by_adversary))
    rows = [["attack", *head]]
    rows += [["", *names] for names in more]
    # Attacks keep the order in which the first adversary that ran them did.
    attacks = dict.fromkeys(attack for cells in columns for attack in cells)
    for attack in attacks:
        scores = [cells.get(attack, "") for cells in columns]
        rows.append([attack, *scores])
    columns_of_table = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in columns_of_table]
    for row in rows:
        padded = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(padded).rstrip()


def _cells(findings: Findings) -> dict[str, str]:
    """Attack -> its cell, of attacks that measured something."""
    cells = {line.attack: _of_line(line) for line in findings.lines}
    cells |= {exposure.attack: _of_exposure(exposure) for exposure in findings.exposures}
    return {attack: cell for attack, cell in cells.items() if cell}


def _of_line(line: Line) -> str:
    """A refuted claim outweighs every score; the mechanism has verdicts and no scores."""
    word: str = line.verdict.value
    if line.verdict is Verdict.VIOLATED:
        return word
    if line.auc is not None:
        mark = MARK if line.is_finding else ""
        return f"{line.auc:.3f}{mark}"
    return word if line.verdict is Verdict.HOLDS else ""


def _of_exposure(exposure: Exposure) -> str:
    if exposure.measured is None:
        return ""
    _, measured, _, _ = exposure.cells
    mark = MARK if exposure.is_finding else ""
    return f"{measured}{mark}"


def _wrapped(names: Sequence[str]) -> list[list[str]]:
    """The names in two lines: "server+key-holder" goes on after "server+"."""
    tops: list[str] = []
    bottoms: list[str] = []
    for name in names:
        ends = [name.find(mark) + 1 for mark in _SEPARATORS if mark in name]
        cut = min(ends, default=len(name))
        tops.append(name[:cut])
        bottoms.append(name[cut:])
    return [tops, bottoms] if any(bottoms) else [tops]
