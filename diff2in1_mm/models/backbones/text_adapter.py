"""VPD's adapter of text embeddings."""

import torch
from torch import Tensor, nn


class TextAdapter(nn.Module):
    """``c + gamma * MLP(c)`` of text embeddings, trained (Zhao et al. 2023, eq. 6).

    Its weights have the names of VPD's, as ``fold_text_adapter`` of the conversion takes them.

    Args:
        channels (int): Of an embedding.

    Attributes:
        gamma (Parameter): Weight of each channel, 1e-4 at first, so that it starts near the embeddings themselves.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels))
        self.gamma = nn.Parameter(torch.full((channels,), 1e-4))

    def forward(self, texts: Tensor) -> Tensor:
        """Embeddings (..., channels), adapted; float32."""
        return texts + self.gamma * self.fc(texts)
