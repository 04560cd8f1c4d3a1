"""What a pass of DiffusionBackbone costs over diffusers called plainly, for every family of diffusion models.

    python benchmarks/families.py --rounds 20

Both encode the same images and run the denoiser once, with hooks that keep the same maps; the sides take turns, and the
figure is the median of the rounds' ratios. Models are the small random ones of the tests, so that what the backbone
adds is a larger share than of any published model. On a CPU its seconds are counted rather than those of the clock,
which other processes lengthen. With a GPU also the peak memory of each side.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from common import arguments, report, wait

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone  # noqa: E402
from tests.family_models import build  # noqa: E402
from tests.plain_families import PLAIN, attention_inputs  # noqa: E402
from tests.small_models import tiny_pipeline  # noqa: E402

_LEVEL = 260
UNETS = ('sd', 'xl', 'ddpm')
TOLD_NOTHING = ('ddpm',)


def sides(family: str, images: torch.Tensor, device: str) -> dict[str, Callable]:
    """A pass of the backbone, and one of the pipeline's own parts."""
    pipeline = build(family) if family != 'sd' else tiny_pipeline()
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        told = {} if family in TOLD_NOTHING else dict(condition=dict(type='Prompt', text='a red car'))
        backbone = DiffusionBackbone(folder, timestep=_LEVEL, **told).eval().to(device)
    bare = (bare_transformer if family in PLAIN else bare_unet)(family, pipeline, backbone.tap_names, images, device)
    return {'DiffusionBackbone': lambda: backbone(images), 'diffusers': bare}


def bare_transformer(family: str, pipeline, taps: Sequence[str], images: torch.Tensor, device: str) -> Callable:
    """Encoding and denoising with a hook that keeps what one attention is given."""
    plain = PLAIN[family]
    told = {name: value.to(device) for name, value in plain.texts(pipeline, ['a red car']).items()}
    told = {name: value.expand(len(images), *value.shape[1:]) for name, value in told.items()}
    pipeline.vae.to(device), pipeline.transformer.to(device)
    (tap,) = taps
    kept = type(plain.__name__, (plain,), dict(taps={tap: plain.taps[tap]}))

    @torch.no_grad()
    def bare() -> None:
        latents = plain.latents(pipeline, images)
        attention_inputs(kept, pipeline, lambda: plain.denoise(pipeline, latents, _LEVEL, told))

    return bare


def bare_unet(family: str, pipeline, taps: Sequence[str], images: torch.Tensor, device: str) -> Callable:
    """Encoding and denoising with hooks that keep the output of modules."""
    unet, vae = pipeline.unet.to(device), getattr(pipeline, 'vae', None)
    told, count = {}, len(images)
    if family not in TOLD_NOTHING:
        embedded = pipeline.encode_prompt(
            'a red car', device='cpu', num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        told['encoder_hidden_states'] = embedded[0].expand(count, -1, -1).to(device)
    if family == 'xl':
        pooled = embedded[2]
        size = tuple(images.shape[-2:])
        ids = pipeline._get_add_time_ids(size, (0, 0), size, torch.float32, pooled.shape[-1])
        shown = dict(text_embeds=pooled.expand(count, -1), time_ids=ids.expand(count, -1))
        told['added_cond_kwargs'] = {name: value.to(device) for name, value in shown.items()}
    if vae is not None:
        vae.to(device)
    kept = {}
    for name in taps:
        unet.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))

    @torch.no_grad()
    def bare() -> None:
        latents = images if vae is None else vae.encode(images).latent_dist.mean * vae.config.scaling_factor
        unet(latents, _LEVEL, return_dict=False, **told)

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
    parser.add_argument('--size', type=int, default=128, help='side of the images')
    parser.set_defaults(batch_size=2)
    args = parser.parse_args()
    images = torch.rand(args.batch_size, 3, args.size, args.size, device=args.device) * 2 - 1
    rows = []
    for family in (*UNETS, *PLAIN):
        pair = sides(family, images, args.device)
        taken = [[seconds(run, args.device) for run in pair.values()] for _ in range(args.rounds + 2)][2:]
        rows.append((f'{family}: over diffusers', statistics.median(ours / bare for ours, bare in taken), 'x'))
        rows.append((f'{family}: a pass', statistics.median(ours for ours, _ in taken) * 1000, 'ms'))
        if args.device.startswith('cuda'):
            rows += [(f'{family}: {name}, peak memory', peak(run, args.device), 'MiB') for name, run in pair.items()]
    report('One pass over bare diffusers', rows, args)


if __name__ == '__main__':
    main()
