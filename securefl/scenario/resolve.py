"""Every value in force of a scenario, as resolved.json holds it."""

import copy
import inspect
import math
from collections.abc import Iterator
from typing import Any

from securefl.scenario import catalog
from securefl.scenario.automatic import leaves_something
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import Entry
from securefl.scenario.facts import Facts
from securefl.scenario.sites import DEFAULT_SKEW


def resolved(declared: Declaration, facts: Facts) -> dict[str, Any]:
    """Returns every value in force, ready for JSON (inf as a string).

    The hash of these values names a cell: what is filled in here, and in which form, cannot change
    without renaming every run.
    """
    values: dict[str, Any] = declared.model_dump(mode="json", by_alias=True)
    # Whoever gets these values may change them; the facts are shared and cached.
    values["practice"] = copy.deepcopy(facts.practice)
    values["data"]["digest"] = facts.data_digest
    # None says the same as False and leaves the names of other cells as they are.
    values["data"]["grouped"] = facts.data_set.grouped or None
    values["model"]["weights_sha256"] = facts.weights_digest
    if leaves_something(declared.model):
        values["model"] |= {"name": facts.architecture.name, **facts.architecture.parameters}
    values["channel"] |= {"min_cohort": facts.min_cohort, **facts.channel_options}
    if declared.weights == "reported" and facts.channel.bounds_weights:
        values["channel"]["max_weight"] = facts.max_weight
    values["data"] |= {
        "partition": facts.partition,
        "clients": facts.site_count,
        **_skew(declared, facts),
        **facts.data_options,
    }
    if facts.code:
        values["code"] = {
            origin: code.model_dump(mode="json") for origin, code in facts.code.items()
        }
    if not facts.reads_files:
        values["folder"] = None
    if facts.top is not None:
        top = {"rule": facts.top.name, **facts.top.parameters}
        values["topology"] |= {"inner_rounds": len(facts.numbers_of(0)), "top": top}
    for table, entry in _choices(facts, values):
        _fill_in(table, entry)
    _drop_keys(values["training"], facts)
    if facts.buffer is None:
        # Keys that are off leave no trace: cells keep the form that they have always had.
        cohort = {} if declared.cohort is None else declared.cohort.model_dump(exclude_none=True)
        values["cohort"] = {"size": facts.cohort_size, **cohort}
    if declared.privacy is not None:
        records = facts.public_records
        values["privacy"]["records"] = None if records is None else list(records)
        if math.isinf(declared.privacy.epsilon):
            values["privacy"]["epsilon"] = "inf"
    return values


def without_effect(facts: Facts) -> tuple[str, ...]:
    """Returns the keys of [training] that are refused, although they have defaults."""
    return ("batch", "epochs") if facts.trainer.one_sum else ()


def _drop_keys(training: dict[str, Any], facts: Facts) -> None:
    """Removes the defaults of keys that are refused, so that the values can be read again."""
    for key in without_effect(facts):
        del training[key]


def _skew(declared: Declaration, facts: Facts) -> dict[str, Any]:
    """Returns the keys that shape the partition, where it has some."""
    deal = catalog.DEALS.get(facts.partition)
    keys = () if deal is None else deal.takes
    return {key: getattr(declared.data, key) or getattr(DEFAULT_SKEW, key) for key in keys}


def _choices(facts: Facts, values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Entry]]:
    """Yields the table and the entry of every name that takes hyper-parameters."""
    yield values["model"], facts.architecture.entry
    yield values["defense"]["rule"], facts.rule.entry
    yield values["server"], facts.step.entry
    for table, prefilter in zip(values["defense"]["prefilters"], facts.prefilters, strict=True):
        yield table, prefilter.entry
    if facts.top is not None:
        yield values["topology"]["top"], facts.top.entry
    if facts.attack is not None:
        yield values["attack"], facts.attack.entry


def _fill_in(table: dict[str, Any], entry: Entry) -> None:
    """Fills in the defaults of an entry's hyper-parameters, except for None."""
    for name, parameter in entry.parameters.items():
        default = parameter.default
        # TOML and resolved.json have no None: a key that is absent says the same.
        if default is inspect.Parameter.empty or default is None:
            continue
        # An author's default may be anything; what no TOML can hold, no scenario can repeat.
        if parameter.annotation is inspect.Parameter.empty or not _is_plain(default):
            continue
        table.setdefault(name, list(default) if isinstance(default, tuple) else default)


def _is_plain(value: object) -> bool:
    """Whether a value is one that TOML and JSON hold: a number, a word, or a list of these."""
    items = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(item, bool | int | float | str) for item in items)
