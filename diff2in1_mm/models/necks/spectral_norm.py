"""Spectral normalisation as the released Diff-2-in-1 code has it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-4


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight is divided by an estimate of its largest singular value.

    The estimate is one power iteration from the stored vector (Miyato et al. 2018), in eval mode
    too, where the vector stays: :func:`torch.nn.utils.parametrizations.spectral_norm` takes the
    stored pair as it is there, which gives other values unless the iteration has converged.

    Buffers: ``left`` (1, out_channels), the stored vector, and ``sigma`` (1,), the last estimate.
    """

    left: Tensor
    sigma: Tensor

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer('left', torch.randn(1, self.out_channels))
        self.register_buffer('sigma', torch.ones(1))

    def normalised_weight(self) -> Tensor:
        """The weight over its estimated spectral norm; moves the buffers in training mode."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            right = F.normalize(self.left @ matrix, eps=_EPS)
            left = F.normalize(right @ matrix.t(), eps=_EPS)
        sigma = (right @ matrix.t() @ left.t()).squeeze()  # with a gradient to the weight
        if self.training:
            with torch.no_grad():
                self.left.copy_(left)
                self.sigma.fill_(sigma)
        return self.weight / sigma

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``."""
        return self._conv_forward(x, self.normalised_weight(), self.bias)
