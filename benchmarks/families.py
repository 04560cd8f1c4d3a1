"""What a pass of DiffusionBackbone costs over diffusers called plainly, for every family of diffusion models.

    python benchmarks/families.py --rounds 20
    python benchmarks/families.py --full                # SDXL, SD 3.5-medium and FLUX.2-klein-4B, on a GPU

Both encode the same images and run the denoiser once, with hooks that keep the same maps, told the same; the sides take
turns, and the figure is the median of the rounds' ratios. Models are the small random ones of the tests, so that what
the backbone adds is a larger share than of any published model, or of full size in bfloat16 with random weights, which
both sides share. On a CPU its seconds are counted rather than those of the clock, which other processes lengthen. With
a GPU also the peak memory of each side.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import arguments, report, wait
from full_size import FULL, full_size

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from diff2in1_mm.diffusion.condition import Condition  # noqa: E402
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone  # noqa: E402
from tests.family_models import build  # noqa: E402
from tests.plain_families import PLAIN, attention_inputs  # noqa: E402

_LEVEL = 260
_CLASSES = dict(num_class_embeds=4)
_TEXT, _CLASS = dict(type='Prompt', text='a red car'), dict(type='ClassLabel', label=1)
#: By name: family, options of its small model, and what it is told.
KINDS: dict[str, tuple[str, dict, dict | None]] = {
    'sd': ('sd', {}, _TEXT),
    'xl': ('xl', {}, _TEXT),
    'ddpm': ('ddpm', {}, None),
    'ddpm of classes': ('ddpm', _CLASSES, _CLASS),
    'ldm': ('ldm', {}, None),
    'ldm of classes': ('ldm', _CLASSES, _CLASS),
    **{family: (family, {}, _TEXT) for family in PLAIN},
}


def sides(name: str, images: torch.Tensor, device: str, full: bool) -> tuple[dict[str, Callable], int]:
    """A pass of the backbone, and one of the pipeline's own parts; and the parameters of the denoiser."""
    if full:
        family = name
        backbone, pipeline = full_size(family, device, timestep=_LEVEL)
    else:
        family, options, told = KINDS[name]
        pipeline = build(family, **options)
        with tempfile.TemporaryDirectory() as folder:
            pipeline.save_pretrained(folder)
            backbone = DiffusionBackbone(folder, timestep=_LEVEL, condition=told)
    backbone.eval().to(device)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device)
    told = backbone._condition.to(images.device, backbone.diffusion.dtype).expand(len(images))
    bare = (bare_transformer if family in PLAIN else bare_unet)(family, pipeline, backbone, images, told)
    size = sum(parameter.numel() for parameter in backbone.diffusion.denoiser.parameters())
    return {'DiffusionBackbone': lambda: backbone(images), 'diffusers': bare}, size


def bare_transformer(
    family: str, pipeline: Any, backbone: DiffusionBackbone, images: torch.Tensor, told: Condition
) -> Callable:
    """Encoding and denoising with a hook that keeps what one attention is given."""
    plain = PLAIN[family]
    (tap,) = backbone.tap_names
    kept = type(plain.__name__, (plain,), dict(taps={tap: plain.taps.get(tap, tap)}))
    shown = dict(sequence=told.sequence, pooled=told.pooled, mask=told._mask_or_ones())
    if family == 'z_image':  # told rows of any length
        shown['mask'] = shown['mask'].bool()
    images = images.to(pipeline.vae.dtype)

    @torch.no_grad()
    def bare() -> None:
        latents = plain.latents(pipeline, images).to(pipeline.transformer.dtype)
        attention_inputs(kept, pipeline, lambda: plain.denoise(pipeline, latents, _LEVEL, shown))

    return bare


def bare_unet(
    family: str, pipeline: Any, backbone: DiffusionBackbone, images: torch.Tensor, condition: Condition
) -> Callable:
    """Encoding and denoising with hooks that keep the output of modules."""
    unet, vae = pipeline.unet, getattr(pipeline, 'vae', None) or getattr(pipeline, 'vqvae', None)
    told: dict[str, Any] = dict(class_labels=condition.extras.get('class_label'))
    if condition.sequence.numel():
        told['encoder_hidden_states'] = condition.sequence
    if family == 'xl':
        size = tuple(images.shape[-2:])
        ids = pipeline._get_add_time_ids(size, (0, 0), size, unet.dtype, condition.pooled.shape[-1]).to(images.device)
        told['added_cond_kwargs'] = dict(text_embeds=condition.pooled, time_ids=ids.expand(len(images), -1))
    kept: dict[str, torch.Tensor] = {}

    def encoded() -> torch.Tensor:
        if vae is None:
            return images
        found = vae.encode(images.to(vae.dtype))
        mean = found.latents if hasattr(vae, 'quantize') else found.latent_dist.mean
        return (mean * vae.config.scaling_factor).to(unet.dtype)

    @torch.no_grad()
    def bare() -> None:
        latents = encoded()
        handles = [
            unet.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))
            for name in backbone.tap_names
        ]
        unet(latents, _LEVEL, return_dict=False, **told)
        for handle in handles:
            handle.remove()

    return bare


def seconds(run: Callable, device: str) -> float:
    """Of one call: the CPU's own, or until a GPU is done."""
    clock = time.perf_counter if device.startswith('cuda') else time.process_time
    wait(device)
    start = clock()
    run()
    wait(device)
    return clock() - start


def peak(run: Callable, device: str) -> float:
    """Most memory during a call, in MiB."""
    torch.cuda.reset_peak_memory_stats()
    run()
    wait(device)
    return torch.cuda.max_memory_allocated() / 2**20


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument('--full', action='store_true', help='published models at their size, random weights in bf16')
    parser.add_argument('--size', type=int, help='side of the images; default 128, with --full 1024')
    parser.set_defaults(batch_size=2)
    args = parser.parse_args()
    args.size = args.size or (1024 if args.full else 128)
    images = torch.rand(args.batch_size, 3, args.size, args.size, device=args.device) * 2 - 1
    rows = []
    for name in FULL if args.full else KINDS:
        pair, size = sides(name, images, args.device, args.full)
        taken = [[seconds(run, args.device) for run in pair.values()] for _ in range(args.rounds + 2)][2:]
        called = FULL[name]['name'] if args.full else name
        if args.full:
            rows.append((f'{called}: parameters of the denoiser', size / 1e9, 'billion'))
        rows.append((f'{called}: over diffusers', statistics.median(ours / bare for ours, bare in taken), 'x'))
        rows.append((f'{called}: a pass', statistics.median(ours for ours, _ in taken) * 1000, 'ms'))
        if args.device.startswith('cuda'):
            rows += [(f'{called}: {side}, peak memory', peak(run, args.device), 'MiB') for side, run in pair.items()]
        pair.clear()  # before the next is made
    report('One pass over bare diffusers', rows, args)


if __name__ == '__main__':
    main()
