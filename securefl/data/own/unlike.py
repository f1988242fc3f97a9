"""Whether a crosswalk fits the columns of a schema, and the coarse classes that follow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from securefl.data.crosswalk.words import ColumnWords
from securefl.data.own.spelling import BINARY_LEVELS

if TYPE_CHECKING:
    from securefl.data.own.columns import Label
    from securefl.data.own.schema import Schema

Groups = tuple[tuple[int, ...], ...]


def check_crosswalk(schema: "Schema") -> None:
    """Refuses a crosswalk that a schema's columns do not fit.

    Raises:
        ValueError: one sentence that names the column.
    """
    if schema.crosswalk is None:
        return
    known = declared_words(schema)
    for name, words in schema.crosswalk.columns.items():
        if name not in known:
            raise ValueError(f"the crosswalk has words of {name!r}, which is no column with words")
        if words.hierarchy and (schema.label is None or name != schema.label.column):
            raise ValueError(f"the crosswalk has a hierarchy of {name!r}; only a label has one")
        has_other = any(column.name == name and column.other for column in schema.columns)
        if not has_other:
            check_words(name, words, known[name])
    _check_not_observed(schema, schema.crosswalk.not_observed)
    coarse_classes(schema)


def _check_not_observed(schema: "Schema", sites: Mapping[str, tuple[str, ...]]) -> None:
    labels = [label.column for label in schema.labels]
    for site, unseen in sites.items():
        for name in unseen:
            if name not in labels:
                raise ValueError(
                    f"not_observed of {site!r} names {name!r}, which is none of the schema's"
                    " labels = [...]"
                )
        if set(unseen) == set(labels):
            raise ValueError(f"site {site!r} looked for no label, so it has nothing to train on")


def declared_words(schema: "Schema") -> dict[str, frozenset[str]]:
    """Returns the words that each column with words declares."""
    words = {
        column.name: frozenset(column.levels or BINARY_LEVELS)
        for column in schema.columns
        if column.range is None
    }
    words |= {label.column: frozenset(label.codes) for label in schema.labels}
    if schema.label is not None:
        words[schema.label.column] = frozenset(schema.label.codes)
    return words


def check_words(name: str, words: ColumnWords, known: frozenset[str]) -> None:
    """Refuses words of a column that lead to no declared value. Raises ValueError."""
    for word in sorted(words.common - words.coarse.keys()):
        if word not in known:
            raise ValueError(
                f"the crosswalk leads to {word!r}, which is no declared value of column {name!r}"
            )
    for word in words.coarse:
        if word in known:
            raise ValueError(
                f"{word!r} is wider than other words of column {name!r}, so that it is no class"
            )


def coarse_classes(schema: "Schema") -> dict[str, tuple[int, ...]]:
    """Returns the classes below each wider word of the label, in order.

    Raises:
        ValueError: a wider word stands for every class.
    """
    if schema.crosswalk is None or schema.label is None:
        return {}
    return coarse_of(schema.label, schema.crosswalk.columns.get(schema.label.column))


def coarse_of(label: "Label", words: ColumnWords | None) -> dict[str, tuple[int, ...]]:
    """Returns the classes below each wider word of a label, in order.

    Args:
        label: with its classes.
        words: of its column; None where the crosswalk has none.

    Raises:
        ValueError: a wider word stands for every class.
    """
    if words is None:
        return {}
    coarse = {
        word: tuple(sorted({label.codes[narrow] for narrow in below}))
        for word, below in words.coarse.items()
    }
    for word, classes in coarse.items():
        if len(classes) == len(label.classes):
            raise ValueError(f"{word!r} stands for every class, so that it says nothing; drop it")
    return coarse


def label_groups(coarse: Mapping[str, tuple[int, ...]]) -> Groups:
    """Returns the groups of classes that coarse labels stand for, each once and in order."""
    return tuple(sorted({classes for classes in coarse.values() if len(classes) > 1}))


def codes_of(label: "Label", coarse: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Returns the label of each word: its class, or the number of classes plus that of a group."""
    groups = label_groups(coarse)
    codes = dict(label.codes)
    for word, classes in coarse.items():
        is_class = len(classes) == 1
        codes[word] = classes[0] if is_class else len(label.classes) + groups.index(classes)
    return codes
