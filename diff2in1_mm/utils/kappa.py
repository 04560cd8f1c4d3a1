"""What kappa says of a normal, for models and for the labels that they make."""

import math

from torch import Tensor


def expected_angular_error(kappa: Tensor) -> Tensor:
    """Mean angle to the true normal under the angular von Mises-Fisher distribution.

    Its density over the sphere is proportional to exp(-kappa * angle) (Bae, Budvytis and Cipolla,
    ICCV 2021, section 3.1); integrating the angle gives
    2 kappa / (kappa^2 + 1) + pi exp(-kappa pi) / (1 + exp(-kappa pi)).

    Args:
        kappa (Tensor): Concentration > 0, any shape.

    Returns:
        Tensor: Degrees, same shape.
    """
    tail = (-kappa * math.pi).exp()
    return (2 * kappa / (kappa.square() + 1) + math.pi * tail / (1 + tail)).rad2deg()
