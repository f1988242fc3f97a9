"""Every value in force of a scenario, defaults filled in, as resolved.json holds it."""

import copy
import inspect
import math
from typing import Any

from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import parameters_of
from securefl.scenario.facts import DEFAULT_SKEW, Facts


def resolved(declared: Declaration, facts: Facts) -> dict[str, Any]:
    """Every value in force, ready for JSON (inf as a string); defaults of what is named are filled in."""
    values: dict[str, Any] = declared.model_dump(mode="json")
    how = facts.partition
    takes = catalog.DEALS[how].takes if how in catalog.DEALS else ()
    skew = {key: getattr(declared.data, key) or getattr(DEFAULT_SKEW, key) for key in takes}
    values["practice"] = copy.deepcopy(facts.practice)
    values["channel"] |= {"min_cohort": facts.min_cohort, **facts.channel_options}
    if declared.weights == "reported" and facts.channel.bounds_weights:
        values["channel"]["max_weight"] = facts.max_weight
    values["data"] |= {"partition": how, "clients": facts.site_count, **skew, **facts.data_options}
    tables = [
        (values["model"], catalog.MODELS[declared.model.name]),
        (values["defense"]["rule"], catalog.RULES[declared.defense.rule.name].function),
        (values["server"], catalog.STEPS[declared.server.step]),
    ]
    for table, one in zip(
        values["defense"]["prefilters"], declared.defense.prefilters, strict=True
    ):
        tables.append((table, catalog.PREFILTERS[one.name].function))
    if declared.attack is not None:
        tables += [
            (values["attack"], function)
            for function in catalog.ATTACKS[declared.attack.name].functions
        ]
    for table, function in tables:
        for name, parameter in parameters_of(function).items():
            if (default := parameter.default) not in (inspect.Parameter.empty, None):
                table.setdefault(name, list(default) if isinstance(default, tuple) else default)
    values["cohort"] = {"size": facts.cohort_size}
    if declared.privacy is not None:
        known = declared.privacy.records or facts.published_records
        values["privacy"]["records"] = None if known is None else list(known)
        if math.isinf(declared.privacy.epsilon):
            values["privacy"]["epsilon"] = "inf"
    return values
