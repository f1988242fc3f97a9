"""Looks for the tests of this folder: of a small scenario that is played, and made by hand."""

import torch
from torch import nn

from attacks.reconstruction.local_steps import LocalSteps, local_update
from securefl.audit.exposure.exposures import attributes
from securefl.audit.exposure.look import Look, look_at
from securefl.audit.exposure.reconstruction import reconstructions
from securefl.audit.exposure.result import Exposure
from securefl.audit.inquiry import Inquiry
from securefl.audit.knowledge import Knowledge, Sight
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.federation.record import RoundRecord
from securefl.learning.models.linear import mlp
from securefl.scenario.assemble.trainers import local_training
from securefl.scenario.scenario import parse_scenario
from securefl.vector import to_vector

DIGITS = """
rounds = 8
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4 }
model = { name = "mlp", hidden = [16] }
training = { kind = "sgd", batch = 32, lr = 0.1 }
"""
ONE_STEP = ("data.most=4", "training.batch=4")
FEW_RECORDS = ("data.share=0.0127", "training.batch=4")  # about four a client, under a claim
DP = (
    "training.kind=dp_sgd",
    "privacy.noise=seeded",
    "privacy.epsilon=8.0",
    "privacy.records=[4, 4, 4, 4]",
)
IMAGES = Task(features=256, classes=2, image=(1, 16, 16))


def ignore_round(label: str, record: RoundRecord) -> None:
    """Listens to no round of a replay."""


def look(who: str, *overrides: str, colluders: int = 1, target: int = 0) -> Look:
    """The first rounds of the small scenario, as an adversary sees them."""
    scenario = parse_scenario(DIGITS, overrides=overrides)
    return look_at(Inquiry(scenario, who, colluders, target), on_round=ignore_round)


def sums(channel: str, weights: str) -> tuple[str, ...]:
    """Overrides for a channel and weights; masks ask for consent where clients report theirs."""
    consent = (
        ("channel.reveal_counts=true",) if (channel, weights) == ("masked", "reported") else ()
    )
    return (f"channel.kind={channel}", f"weights={weights}", *consent)


def by_name(exposures: list[Exposure]) -> dict[str, Exposure]:
    """Attack -> its exposure."""
    return {exposure.attack: exposure for exposure in exposures}


def everything(look: Look) -> dict[str, Exposure]:
    """Every attack on a look, but for an imprint."""
    return by_name([*reconstructions(look), *attributes(look)])


def scores(exposure: Exposure) -> tuple[float, float]:
    """The attack's score and that of guessing, of an exposure that was measured."""
    assert exposure.measured is not None
    assert exposure.guessing is not None
    return exposure.measured, exposure.guessing


def images(n: int, seed: int) -> Examples:
    """Smooth grey images, mixed from a few waves."""
    draws = torch.Generator().manual_seed(seed)
    at = torch.arange(16) / 16
    waves = [
        torch.sin(6.28 * (at[:, None] * a + at[None] * b))
        for a, b in ((1, 0), (0, 1), (1, 1), (0.5, 1))
    ]
    mixed = torch.einsum("nk,kij->nij", torch.randn(n, 4, generator=draws), torch.stack(waves))
    scaled = (mixed / mixed.abs().amax(dim=(1, 2), keepdim=True))[:, None]
    return Examples(((scaled + 1) * 127.5).round().to(torch.uint8), torch.arange(n) % 2)


def look_at_images(
    records: int,
    *,
    batch: int,
    clients: int = 1,
    shuffled: bool = False,
    epochs: int = 1,
    lr: float = 0.1,
    model: nn.Module | None = None,
) -> Look:
    """A server that saw clients' local steps on images: the target's update, or a sum."""
    overrides = (f"training.batch={batch}", f"training.epochs={epochs}", f"training.lr={lr}")
    inquiry = Inquiry(parse_scenario(DIGITS, overrides=overrides), "server")
    if model is None:
        model = mlp(IMAGES, hidden=(32,), generator=torch.Generator().manual_seed(0))
    sites = tuple(Site(str(seed), images(records, seed), None) for seed in range(clients))
    local = LocalSteps(lr=lr, batch=batch, epochs=epochs)
    updates = []
    for site in sites:
        inputs = IMAGES.inputs(site.train.features)
        update = local_update(model, IMAGES.loss, inputs, site.train.labels, local=local)
        updates.append(update.detach())
    moved = torch.stack(updates).sum(dim=0)
    if shuffled:
        moved = moved[torch.randperm(len(moved), generator=torch.Generator().manual_seed(1))]
    counts = dict.fromkeys(range(clients), 1.0)
    sight = Sight(0, to_vector(model), moved, alone=clients == 1, counts=counts)
    data = FederatedData(IMAGES, sites, images(4, 90))
    knowledge = {0: Knowledge((sight,), None, None)}
    examples = {client: site.train for client, site in enumerate(sites)}
    local_steps = local_training(inquiry.scenario, IMAGES, examples, model, {})
    return Look(inquiry, data, model, images(60, 91), local_steps, knowledge)
