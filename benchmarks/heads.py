"""What a head for normals or depth costs beside the U-Net.

    python benchmarks/heads.py                     # the small model, CPU
    python benchmarks/heads.py --model sd15        # Stable Diffusion 1.5, GPU

Each head with its neck, on maps of the shapes that the diffusion model gives, against one U-Net
pass over the same images: a prediction, and a training step (forward, loss and backward; for the
released head with point sampling). Values do not change the time, so the maps are random. The released head
has its own size over Stable Diffusion, and an eighth of its widest levels over the small model.
"""

from collections.abc import Callable
from typing import Any

import torch
from common import ARCHITECTURES, alternate, arguments, random_pipeline, report
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.diffusion.taps import select_taps

_STRIDES = (8, 16, 32, 64)  # of Stable Diffusion's maps, which the released head is made for


def samples(count: int, size: tuple[int, int], device: str) -> list[SegDataSample]:
    """Ground truth of both tasks."""
    found = []
    for _ in range(count):
        sample = SegDataSample()
        normals = nn.functional.normalize(torch.randn(3, *size, device=device), dim=0)
        sample.gt_normal_map = PixelData(data=normals)
        sample.gt_depth_map = PixelData(data=1 + 8 * torch.rand(1, *size, device=device))
        found.append(sample)
    return found


def random_maps(channels, strides, args, size) -> list[Tensor]:
    """Maps as a frozen backbone gives them."""
    return [
        torch.randn(args.batch_size, c, -(-size[0] // s), -(-size[1] // s), device=args.device)
        for c, s in zip(channels, strides)
    ]


class Head(nn.Module):
    """A neck and a head, without a backbone."""

    def __init__(self, neck: Any, head: dict) -> None:
        super().__init__()
        self.neck = nn.Identity() if neck is None else MODELS.build(neck)
        self.head = MODELS.build(head)

    def predict(self, maps: list[Tensor], size: tuple[int, int]) -> None:
        """As in validation."""
        self.eval()
        with torch.no_grad():
            self.head.predict(self.neck(maps), [dict(pad_shape=size)] * len(maps[0]), None)

    def step(self, maps: list[Tensor], truth: list[SegDataSample]) -> None:
        """A training step without the optimizer."""
        self.train()
        self.zero_grad(set_to_none=True)
        losses = self.head.loss(self.neck(maps), truth, None)
        sum(losses.values()).backward()


def heads(name: str, diffusion: LatentDiffusion) -> dict[str, tuple[Head, list, list]]:
    """Name -> head, channels and strides of the maps that it takes."""
    spec = ARCHITECTURES[name]
    groups = {which: select_taps(diffusion.taps(), which) for which in ('decoder', 'all')}
    channels = {which: [sum(tap.channels for tap in group) for group in found] for which, found in groups.items()}
    strides = [group[0].stride for group in groups['decoder']]
    width, levels = spec['head_channels'], len(strides)
    neck = dict(type='FPN', in_channels=channels['decoder'], out_channels=width, num_outs=levels)
    fpn = dict(
        in_channels=[width] * levels,
        in_index=list(range(levels)),
        channels=width,
        feature_strides=[4 * 2**i for i in range(levels)],
        norm_cfg=dict(type='BN'),
        align_corners=False,
    )
    four = {which: [*found, *found[-1:] * (4 - levels)] for which, found in channels.items()}
    embed, widest = (192, 2048) if name == 'sd15' else (24, 256)
    aggregated = (24, 40, 64, 176, widest)
    pyramid = [channels['decoder'], strides]
    return {
        'FPNNormalHead': (Head(neck, dict(type='FPNNormalHead', **fpn)), *pyramid),
        'FPNDepthHead': (Head(neck, dict(type='FPNDepthHead', **fpn)), *pyramid),
        'IDiscHead (normals)': (Head(neck, dict(type='IDiscHead', task='normals', in_channels=width)), *pyramid),
        'DepthHead (VPD)': (
            Head(
                None,
                dict(
                    type='DepthHead',
                    in_channels=four['decoder'],
                    embed_dim=embed,
                    feature_dim=8 * embed,
                    num_deconv_layers=3,
                    num_deconv_filters=(32, 32, 32),
                ),
            ),
            four['decoder'],
            _STRIDES,
        ),
        'NormalHead (Bae et al.)': (
            Head(
                dict(type='DiffusionAggregator', in_channels=four['all'], out_channels=aggregated),
                dict(type='NormalHead', in_channels=aggregated, channels=widest),
            ),
            four['all'],
            _STRIDES,
        ),
    }


def main() -> None:
    args = arguments(__doc__.split('\n')[0]).parse_args()
    spec = ARCHITECTURES[args.model]
    size = spec['size']
    init_default_scope('mmseg')
    with random_pipeline(args.model) as folder:
        diffusion = LatentDiffusion.from_pretrained(folder, dtype=spec['dtype']).to(args.device)
    images = (torch.rand(args.batch_size, 3, *size) * 2 - 1).to(args.device)
    with torch.no_grad():
        latents = diffusion.encode(images)
    condition = Condition(torch.randn(args.batch_size, 77, diffusion.context_dim).to(latents))
    unet_pass = torch.no_grad()(lambda: diffusion.predict(latents, 1, condition))
    sides: dict[str, Callable] = {'U-Net': unet_pass}
    truth = samples(args.batch_size, size, args.device)
    for name, (head, channels, strides) in heads(args.model, diffusion).items():
        maps = random_maps(channels, strides, args, size)
        head.to(args.device)
        sides[f'{name}, prediction'] = lambda h=head, m=maps: h.predict(m, size)
        sides[f'{name}, training step'] = lambda h=head, m=maps: h.step(m, truth)
    seconds = alternate(sides, args.rounds, args.device)
    unet = seconds.pop('U-Net')
    rows = [('U-Net pass of the batch', unet, 's')]
    report(
        f'Heads, {args.model}', rows + [(name, value / unet, 'x the U-Net') for name, value in seconds.items()], args
    )


if __name__ == '__main__':
    main()
