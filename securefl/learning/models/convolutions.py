"""Two-dimensional convolutions for volumes, in four ways.

A volume (channels, depth, height, width) has three planes: axial (height and width), coronal (depth
and width) and sagittal (depth and height). Every way is made of layers of torch's own, so that
everything that knows their gradients knows these.

Source: Yang et al., IEEE Journal of Biomedical and Health Informatics 2021, "Reinventing 2D
convolutions for 3D images", section 3.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

# The dimension of a 3-D kernel (outputs, inputs, depth, height, width) in which each is flat.
FLAT = {"axial": 2, "coronal": 3, "sagittal": 4}

# inputs, outputs, kernel, stride -> a convolution without bias whose output has ceil(side / stride)
Convolution = Callable[[int, int, int, int], nn.Module]


def flat_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Returns a convolution of images."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def solid_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv3d:
    """Returns a convolution of volumes with a kernel as deep as it is wide."""
    return nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def slice_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv3d:
    """Returns a convolution of every axial slice by itself, called 2.5-D.

    The stride also leaves out slices.
    """
    return _plane("axial", inputs, outputs, kernel, stride)


def acs_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """Returns an ACS convolution; one pixel is the same in every plane."""
    if kernel == 1:
        return solid_convolution(inputs, outputs, kernel, stride)
    return AxialCoronalSagittal(inputs, outputs, kernel, stride)


def _plane(plane: str, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv3d:
    """Returns a convolution whose kernel lies in one plane."""
    depth, height, width = (1 if flat == FLAT[plane] else kernel for flat in FLAT.values())
    padding = (depth // 2, height // 2, width // 2)
    return nn.Conv3d(inputs, outputs, (depth, height, width), stride, padding=padding, bias=False)


class AxialCoronalSagittal(nn.Module):
    """Convolves a volume with a bank of 2-D kernels, a third of them in each plane.

    The first output channels see axial planes, the next ones coronal, the last ones sagittal. It
    has as many parameters as the 2-D convolution with the same bank.

    Args:
        inputs: channels.
        outputs: channels, at least 3. Where 3 does not divide them, the first planes get one more.
        kernel: side of the kernels, odd.
        stride: in all three dimensions.

    Raises:
        ValueError: there are fewer output channels than planes, or the kernel's side is even.

    Source: Yang et al. 2021, section 3.1, figure 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        if outputs < len(FLAT) or kernel % 2 == 0:
            raise ValueError(
                "an ACS convolution needs 3 output channels or more and an odd kernel, "
                f"got outputs={outputs}, kernel={kernel}"
            )
        self.bank_shape = (outputs, inputs, kernel, kernel)
        least, rest = divmod(outputs, len(FLAT))
        for place, plane in enumerate(FLAT):
            share = least + int(place < rest)
            self.add_module(plane, _plane(plane, inputs, share, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output channels of all planes, axial ones first."""
        return torch.cat([convolution(x) for convolution in self.children()], dim=1)

    def load_bank(self, bank: Tensor) -> None:
        """Writes the kernels (outputs, inputs, kernel, kernel) of a 2-D convolution."""
        with torch.no_grad():
            for name, kernels in self.split(bank).items():
                self.get_parameter(name).copy_(kernels)

    def split(self, bank: Tensor) -> dict[str, Tensor]:
        """Returns parameter name -> its kernels, out of the bank of a 2-D convolution."""
        shares = [len(self.get_parameter(f"{plane}.weight")) for plane in FLAT]
        parts = zip(FLAT.items(), torch.split(bank, shares), strict=True)
        return {f"{plane}.weight": part.unsqueeze(flat) for (plane, flat), part in parts}


def weights_from_2d(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of a 2-D network as those of its 3-D form, by name.

    ACS splits each bank of kernels over three planes, and 2.5-D puts all into the axial one. A full
    3-D kernel repeats the 2-D one in depth, divided by the depth. In a volume of equal slices, a
    layer then gives at every inner slice what the 2-D one gives. At the first and the last slice
    it gives less, since padding puts zeros next to them.

        volume = resnet18(task, convolution="acs", generator=generator)
        save_file(weights_from_2d(load_file("resnet18.safetensors"), volume), "acs.safetensors")

    Args:
        weights: name -> values of the 2-D network.
        model: the 3-D form of the same network; it is not changed.

    Source: Yang et al. 2021, section 3.2; for full kernels, Carreira and Zisserman, CVPR 2017,
    section 2.2.
    """
    layers = dict(model.named_modules())
    converted = {}
    for name, value in weights.items():
        path, _, part = name.rpartition(".")
        layer = layers.get(path)
        if part == "weight" and isinstance(layer, AxialCoronalSagittal):
            split = layer.split(value)
            converted.update({f"{path}.{plane}": part for plane, part in split.items()})
        elif part == "weight" and isinstance(layer, nn.Conv3d):
            depth = layer.kernel_size[0]
            converted[name] = value.unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth
        else:
            converted[name] = value
    # Safetensors writes memory in its order, which a split or a repetition may not have.
    return {name: value.contiguous() for name, value in converted.items()}
