"""ViT-B: an image as a sequence of patches, for a transformer.

Class token and positions are tables that are looked up. Raw parameters would do the same, but have
no gradients of single examples.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.parts import is_solid, shortest_side, started

USUAL_WIDTH = 768
MAX_WIDTH = 1536
HEADS = 12
BLOCKS = 12
EXPANSION = 4  # neurons between the two linear layers of a block, over the width
SMALL_IMAGE_SIDE = 64  # pixels up to which patches are small
SMALL_PATCH, USUAL_PATCH = 4, 16
MAX_PATCHES = 1024  # of an image: memory grows with their square
EPSILON = 1e-6  # of a layer norm


def vit(
    task: Task,
    *,
    width: int = USUAL_WIDTH,
    patch: int | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns the vision transformer ViT-B with layer norm, for 2-D images.

    Args:
        task: gives the image's shape and the width of the last layer.
        width: numbers of a token, a multiple of 12 up to 1536.
        patch: side of a patch in pixels, which divides the image's sides. By default 4 for images
            up to 64 pixels and 16 for larger ones.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images, or a parameter does not fit them.

    Source: Dosovitskiy et al., ICLR 2021, section 3.1 and table 1.
    """
    side = shortest_side(task, "vit")
    if is_solid(task):
        raise ValueError(
            "vit takes 2-D images; for 3-D use resnet18 or resnet50 with model.convolution"
        )
    if patch is None:
        patch = SMALL_PATCH if side <= SMALL_IMAGE_SIDE else USUAL_PATCH
    if width % HEADS or not HEADS <= width <= MAX_WIDTH:
        raise ValueError(
            f"vit needs a width that is a multiple of {HEADS} up to {MAX_WIDTH}, got {width}"
        )
    count = _patches(task.image, patch)
    inputs = task.image[0] * patch**2

    def layers() -> Iterator[nn.Module]:
        yield from (nn.Unfold(patch, stride=patch), _PatchesFirst(), nn.Linear(inputs, width))
        yield _Placed(count, width)
        for _ in range(BLOCKS):
            yield _Block(width)
        yield from (nn.LayerNorm(width, eps=EPSILON), _ClassToken())
        yield nn.Linear(width, task.outputs)

    return started(lambda: nn.Sequential(*layers()), generator)


def _patches(image: tuple[int, ...], patch: int) -> int:
    """Returns the number of patches of an image. Raises ValueError where they do not fill it."""
    _, height, width = image
    if patch < 1 or height % patch or width % patch:
        raise ValueError(
            f"vit cuts images into patches: set model.patch to a divisor of {height} and {width}, "
            f"got {patch}"
        )
    count = (height // patch) * (width // patch)
    if count > MAX_PATCHES:
        raise ValueError(
            f"vit takes at most {MAX_PATCHES} patches, model.patch = {patch} makes {count}: set a "
            "larger one"
        )
    return count


class _PatchesFirst(nn.Module):
    """Puts patches (n, p, t) before their pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, t, p)."""
        return x.transpose(1, 2)


class _Placed(nn.Module):
    """Puts a class token before the patches, and adds what each place means.

    Args:
        patches: number of patches, t - 1.
        width: numbers of a token.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(1, width)
        self.places = nn.Embedding(patches + 1, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, t, width)."""
        first = self.token(torch.zeros(len(x), 1, dtype=torch.long, device=x.device))
        tokens = torch.cat([first, x], dim=1)
        places = torch.arange(tokens.shape[1], device=x.device).expand(len(x), -1)
        placed: Tensor = tokens + self.places(places)
        return placed


class _Block(nn.Module):
    """Adds attention, then two linear layers, each to what comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width, eps=EPSILON), _Attention(width))
        self.neurons = nn.Sequential(
            nn.LayerNorm(width, eps=EPSILON),
            nn.Linear(width, EXPANSION * width),
            nn.GELU(),
            nn.Linear(EXPANSION * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, t, width)."""
        x = x + self.attention(x)
        total: Tensor = x + self.neurons(x)
        return total


class _Attention(nn.Module):
    """Attention of every token to every token of the same image.

    Source: Vaswani et al., NeurIPS 2017, equation 1 and section 3.2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, t, width)."""
        n, t, width = x.shape
        parts = self.read(x).view(n, t, 3, HEADS, width // HEADS)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (n, heads, t, width / heads)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(width // HEADS)
        mixed = (scores.softmax(dim=3) @ values).transpose(1, 2)
        written: Tensor = self.write(mixed.reshape(n, t, width))
        return written


class _ClassToken(nn.Module):
    """Takes the first token."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, width)."""
        return x[:, 0]
