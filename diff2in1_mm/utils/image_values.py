"""Whether red and blue change places on their way to a model."""

from torch import nn


def swaps_channels(data_preprocessor: nn.Module) -> bool:
    """Whether a data preprocessor turns BGR to RGB or back.

    Args:
        data_preprocessor (nn.Module): Of MMSegmentation, which says so in ``channel_conversion``,
            or of MMDetection or MMEngine (``_channel_conversion``).
    """
    return any(getattr(data_preprocessor, name, False) for name in ('channel_conversion', '_channel_conversion'))
