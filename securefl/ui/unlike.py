"""How unlike sites are, and landmarks that make their images alike, for `securefl data`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from securefl.data.harmonise.entries import all_harmonised
from securefl.data.harmonise.landmarks import DECILES, draft_landmarks
from securefl.data.own.records import Split, selected
from securefl.data.task import FederatedData, Site
from securefl.errors import ScenarioError
from securefl.learning.site_effect import SiteEffect, site_effect
from securefl.scenario.assemble.data import dealt_data, local_steps
from securefl.scenario.assemble.fitting import fitted_here
from securefl.scenario.own_data import open_source
from securefl.scenario.scenario import Scenario, load_scenario, make_scenario
from securefl.scenario.written import to_toml

Groups = list[Sequence[bytes]]


def effects(path: Path, overrides: tuple[str, ...]) -> dict[str, SiteEffect]:
    """Returns the site effect before data.harmonise, and after it where there are such steps.

    A fitted step is fitted without noise, also where a claim will have some.

    Raises:
        ScenarioError: the scenario is wrong, or has one site only.
        DataError: the records are missing or damaged.
    """
    scenario = load_scenario(path, overrides=overrides)
    data, groups = _records(scenario)
    if len(data.sites) < 2:
        raise ScenarioError("--site-effect compares sites, and the scenario has one only")
    found = {"before": site_effect(data, groups)}
    steps = local_steps(scenario)
    fit = scenario.data.fit
    if steps or fit is not None:
        after = all_harmonised(data, steps)
        found["after"] = site_effect(after if fit is None else fitted_here(fit, after), groups)
    return found


def effect_lines(found: Mapping[str, SiteEffect]) -> Iterator[str]:
    """Yields the sentences for people."""
    yield "site effect: held-out AUC of linear classifiers; .5 is chance, 1 finds every site"
    for when, effect in found.items():
        sites = _by_kind(effect.site)
        yield f"{when} data.harmonise: the site by {sites}; the class by {_by_kind(effect.label)}"


def effect_facts(found: Mapping[str, SiteEffect]) -> dict[str, Any]:
    """Returns the same for programs."""
    return {
        when: {"site": dict(effect.site), "label": dict(effect.label)}
        for when, effect in found.items()
    }


def drafted(path: Path, overrides: tuple[str, ...]) -> str:
    """Returns the line `harmonise = ...` with landmarks from training images, as TOML.

    Args:
        path: a scenario, or an .npz file of images.
        overrides: `key.path=value` pairs on top of the scenario.

    Raises:
        ScenarioError: the records are no images, or there is none.
        DataError: the records are missing or damaged.
    """
    images = _images(path, overrides)
    landmarks = draft_landmarks(images)
    step = {"name": "nyul", "landmarks": list(landmarks), "percentiles": list(DECILES)}
    return to_toml({"harmonise": [step]}).strip()


def _images(path: Path, overrides: tuple[str, ...]) -> Tensor:
    if path.suffix == ".toml":
        scenario = load_scenario(path, overrides=overrides)
    elif path.suffix == ".npz":
        if overrides:
            raise ScenarioError("--set has no effect with a file; remove it")
        data = {"name": "arrays", "path": str(path.absolute()), "partition": "pooled"}
        # Test records are not looked at; a file without some needs the key all the same.
        scenario = _of_file(data)
    else:
        raise ScenarioError(f"{path} is no .toml and no .npz file")
    if not scenario.facts.task.image:
        raise ScenarioError(f"landmarks are of images, and {path} has rows of numbers")
    images = dealt_data(scenario).pooled().sites[0].train.features
    if not len(images):
        raise ScenarioError(f"{path} has no training image")
    return images


def _of_file(data: dict[str, Any]) -> Scenario:
    values = {"training": {"kind": "sgd"}, "weights": "equal", "data": data}
    try:
        return make_scenario(values)
    except ScenarioError as reason:
        if "test_share" not in str(reason):
            raise
    return make_scenario({**values, "data": {**data, "test_share": 0.1}})


def _records(scenario: Scenario) -> tuple[FederatedData, Groups | None]:
    """Returns the training records of each site, and their groups where they have some."""
    if scenario.facts.data_set.published or scenario.partition != "natural":
        return dealt_data(scenario), None
    records = open_source(scenario.data, scenario.home).read(claim=scenario.claims_dp)
    train = records.train
    if train.groups is None or train.sites is None:
        return dealt_data(scenario), None
    parts = [selected(train, train.sites == index) for index in range(len(records.sites))]
    sites = [
        Site(name, part.examples, None) for name, part in zip(records.sites, parts, strict=True)
    ]
    data = FederatedData(records.task, tuple(sites), train.examples)
    return data, [_groups(part) for part in parts]


def _groups(part: Split) -> Sequence[bytes]:
    return () if part.groups is None else part.groups


def _by_kind(aucs: Mapping[str, float | None]) -> str:
    words = [
        f"{kind} {'not measured' if auc is None else f'{auc:.2f}'}" for kind, auc in aucs.items()
    ]
    return ", ".join(words)
