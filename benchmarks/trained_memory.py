"""Memory of one iteration through a U-Net that is trained along, and what a checkpoint of it holds.

    python benchmarks/trained_memory.py --model sd15 --device cpu --batch-size 4 --size 256
    python benchmarks/trained_memory.py --model sd15 --device cpu --batch-size 4 --size 256 --with-cp

The U-Net alone, in float32 and with constant weights, which take no time to make; no autoencoder and no head. On a CPU
(of Linux) the peak is that of the process from the forward pass on.
"""

import io
from typing import Any

import torch
from common import ARCHITECTURES, arguments, report
from diffusers import AutoencoderKL, UNet2DConditionModel
from peak_memory import forget, peak

from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.taps import select_taps
from diff2in1_mm.diffusion.trained import trained_part, with_gradients
from diff2in1_mm.diffusion.unet_model import UNetModel


class Denoiser(UNetModel):
    """Told embeddings, never texts."""

    text: Any = None

    @classmethod
    def from_pretrained(cls, source: str, dtype: str = 'fp32') -> 'Denoiser':
        """Of the architecture of that name, with an autoencoder of the same stride that does next to nothing."""
        spec = ARCHITECTURES[source]
        with torch.device('meta'):
            unet = UNet2DConditionModel(**spec['unet'])
        unet = unet.to_empty(device='cpu')
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter.fill_(1e-3)
        levels = len(spec['vae']['block_out_channels'])
        vae = AutoencoderKL(
            down_block_types=['DownEncoderBlock2D'] * levels,
            up_block_types=['UpDecoderBlock2D'] * levels,
            block_out_channels=[8] * levels,
            norm_num_groups=4,
            latent_channels=spec['vae']['latent_channels'],
        )
        return cls(vae, unet, dict(num_train_timesteps=1000, beta_schedule='scaled_linear'), source)


class Counted(io.RawIOBase):
    """A file that keeps the number of its bytes alone."""

    count = 0

    def write(self, data: Any) -> int:
        self.count += len(data)
        return len(data)


def size_of(content: Any) -> float:
    """MB of a file that holds it; a whole U-Net with Adam's moments would not fit into memory once more."""
    file = Counted()
    torch.save(content, file)
    return file.count / 1e6


def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--train', choices=['lora', 'full'], default='lora')
    parser.add_argument('--with-cp', action='store_true', help='gradient checkpointing of the denoiser')
    parser.add_argument('--size', type=int, default=256, help='of the square images')
    args = parser.parse_args()
    frozen = Denoiser.from_pretrained(args.model).to(args.device)
    model = with_gradients(frozen, args.train, args.with_cp)
    condition = Condition(torch.zeros(1, 77, frozen.context_dim, device=args.device))
    taps = [tap.name for group in select_taps(frozen.taps(), 'decoder') for tap in group]
    part = trained_part(model, condition, 1, taps)
    optimizer = torch.optim.AdamW(part.parameters(), lr=1e-5)
    side, channels = args.size // frozen.latent_stride, frozen.unet.config.in_channels
    latents = torch.randn(args.batch_size, channels, side, side, device=args.device)
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = forget(args.device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = model.predict(latents, 1, condition, taps)[1]
    sum(feature.square().mean() for feature in maps.values()).backward()
    rows = [
        ('before', before, 'GiB'),
        ('peak', peak(args.device), 'GiB'),
        ('kept for the backward pass', sum(kept.values()) / 2**20, 'MiB'),
    ]
    optimizer.step()
    rows += [
        ('trained weights', sum(p.numel() for p in part.parameters()) / 1e6, 'M'),
        ('a file of them', size_of(part.state_dict()), 'MB'),
        ('a file of them and the optimizer', size_of([part.state_dict(), optimizer.state_dict()]), 'MB'),
    ]
    report(f'{args.train}, with_cp={args.with_cp}, {args.size} pixels, {args.model}', rows, args)


if __name__ == '__main__':
    main()
