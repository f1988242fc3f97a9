"""A heat map of a wide study, as SVG: one panel a section, the mean of the first metric in every field."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from securefl.runs.table import mean_and_error
from securefl.studies.expand import rows
from securefl.studies.scores import Scores
from securefl.studies.study import Study
from securefl.studies.tables import lines, sections

_LABEL, _FIELD, _HEIGHT, _HEAD, _GAP = 150, 72, 24, 58, 26  # pixels
_ACROSS = 2  # panels beside each other
_SCALE = (
    (0x44, 0x01, 0x54),
    (0x31, 0x68, 0x8E),
    (0x35, 0xB7, 0x79),
    (0xFD, 0xE7, 0x25),
)  # also without colour vision


def heat_map(study: Study, scores: Scores) -> str:
    """The figure; a field is empty where there is no number, and colours run from 0 (dark) to 1 (light)."""
    known = list(rows(study))
    panels = []
    for heading, chosen in sections(study, known):
        found, titles = lines(study, chosen)
        if found:
            fields = [
                (line.label, [_mean(study, scores, row) for row in line.rows]) for line in found
            ]
            panels.append(
                (
                    heading,
                    [title.removeprefix(f"{study.table.columns} ") for title in titles],
                    fields,
                )
            )
    wide = _LABEL + _FIELD * max(len(titles) for _, titles, _ in panels) + _GAP
    high = _HEAD + _HEIGHT * max(len(fields) for _, _, fields in panels) + _GAP
    down = -(-len(panels) // _ACROSS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide * min(_ACROSS, len(panels))} {high * down}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(study.title or study.name)}: {study.metrics[0].replace('_', ' ')}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, (heading, titles, fields) in enumerate(panels):
        parts.append(
            f'<g transform="translate({place % _ACROSS * wide} {place // _ACROSS * high})">'
        )
        parts += [*_panel(heading, titles, fields), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _mean(study: Study, scores: Scores, row: str | None) -> float | None:
    values = [
        value for value in scores.of(row or "", study.metrics[0]).values() if value is not None
    ]
    return mean_and_error(values)[0] if values else None


def _panel(
    heading: str, titles: list[str], fields: list[tuple[str, list[float | None]]]
) -> Iterator[str]:
    yield _text(8, 18, heading, extra=' font-weight="bold"')
    for column, title in enumerate(titles):
        yield _text(_LABEL + _FIELD * (column + 0.5), _HEAD - 8, title, anchor="middle")
    for line, (label, values) in enumerate(fields):
        top = _HEAD + _HEIGHT * line
        yield _text(_LABEL - 8, top + 16, label, anchor="end")
        for column, value in enumerate(values):
            if value is not None:
                left = _LABEL + _FIELD * column
                yield f'<rect x="{left}" y="{top}" width="{_FIELD - 2}" height="{_HEIGHT - 2}" fill="{colour(value)}"/>'
                ink = "white" if value < 0.6 else "black"
                yield _text(
                    left + _FIELD / 2 - 1,
                    top + 16,
                    f"{value:.2f}",
                    anchor="middle",
                    extra=f' fill="{ink}"',
                )


def _text(x: float, y: float, words: str, *, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def colour(value: float) -> str:
    """Of a share, dark for 0 and light for 1."""
    at = min(max(value, 0.0), 1.0) * (len(_SCALE) - 1)
    low = min(int(at), len(_SCALE) - 2)
    mixed = (
        round(one + (other - one) * (at - low))
        for one, other in zip(_SCALE[low], _SCALE[low + 1], strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)
