"""A model of the catalog: its parameters, and its size for usual images."""

import difflib
from collections.abc import Iterator

from securefl.errors import ScenarioError
from securefl.ui.sources import Description, descriptions

# Channels and sides of images, with the number of classes.
EXAMPLES = (((1, 28, 28), 2), ((3, 224, 224), 1000))
VOLUME = (1, 28, 28, 28)


def model_lines(name: str) -> Iterator[str]:
    """Yields what a model is and takes, and the size of its gradients for usual images.

    Raises:
        ScenarioError: the catalog has no such model.
    """
    described = {entry.name: entry for entry in descriptions("MODELS")}
    if name not in described:
        near = difflib.get_close_matches(name, described, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ";"
        raise ScenarioError(f"ls models: there is no {name!r}{hint} known: {', '.join(described)}")
    return _lines(described[name])


def _lines(entry: Description) -> Iterator[str]:
    yield f"{entry.name:<23} {entry.sentences[0]}"
    from securefl.scenario.catalog import MODELS  # loads torch

    for key, parameter in MODELS[entry.name].parameters.items():
        yield f"    {key} = {parameter.default!r}"
    for image, classes in EXAMPLES:
        yield from _sizes(entry.name, image, classes)
    if "convolution" in entry.parameters:
        for convolution in ("acs", "3d"):
            yield from _sizes(entry.name, VOLUME, 2, convolution=convolution)


def _sizes(name: str, image: tuple[int, ...], classes: int, **parameters: str) -> Iterator[str]:
    """Yields the size of a model for images of a shape."""
    import math

    import torch

    from securefl.data.task import Task
    from securefl.scenario.catalog import MODELS
    from securefl.scenario.model_words import enlarging_words, size_words

    task = Task(features=math.prod(image), classes=classes, image=image)
    with torch.device("meta"):  # shapes only
        model = MODELS[name].function(task, generator=None, **parameters)
    shape = " x ".join(map(str, image))
    options = "".join(f", {key} = {value}" for key, value in parameters.items())
    yield f"    {shape}, {classes} classes{options}: {size_words(model)}"
    yield from (f"    {line}" for line in enlarging_words(name, model, task))
