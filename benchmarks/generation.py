"""What the project adds to the time of the diffusion model itself.

    python benchmarks/generation.py                     # the small model, CPU
    python benchmarks/generation.py --model sd15        # Stable Diffusion 1.5, GPU

Creation (images read, generated, labelled, written) against the time inside U-Net and VAE,
DiffusionBackbone against a bare diffusers forward, strength by class against one level, and how
many pictures of 512x512 are composed in a second of one core.
"""

import os
import tempfile
import time
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from common import ARCHITECTURES, alternate, arguments, random_pipeline, report, segmentor, wait
from mmengine.registry import DATASETS
from PIL import Image

from diff2in1_mm.creation.composing import composer_of, read_source
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.creation.plan import Sample, source_entry
from diff2in1_mm.creation.settings import CreationSettings


def write_photographs(folder: str, count: int, size) -> None:
    """Smooth coloured noise with a label map: as costly to read and write as a photograph."""
    generator = np.random.default_rng(0)
    for kind in ('images', 'labels'):
        os.makedirs(f'{folder}/{kind}')
    for i in range(count):
        coarse = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.BICUBIC), np.int16)
        noisy = (smooth + generator.integers(-12, 13, smooth.shape)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(f'{folder}/images/{i:04d}.jpg', quality=90)
        Image.fromarray(coarse[..., 0] % 19).resize(size[::-1], Image.NEAREST).save(f'{folder}/labels/{i:04d}.png')


def photographs(folder: str):
    """The data set of :func:`write_photographs`."""
    return DATASETS.build(
        dict(
            type='mmseg.BaseSegDataset',
            data_root=folder,
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[],
            metainfo=dict(classes=[f'c{i}' for i in range(19)]),
        )
    )


@contextmanager
def timed_model(diffusion, device: str):
    """Adds up the seconds spent inside U-Net and VAE; the device is waited for on both sides."""
    spent = dict(seconds=0.0)
    originals = [
        (part, name, getattr(part, name))
        for part, name in ((diffusion.unet, 'forward'), (diffusion.vae, 'encode'), (diffusion.vae, 'decode'))
    ]

    def timer(function):
        def run(*args, **kwargs):
            wait(device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            wait(device)
            spent['seconds'] += time.perf_counter() - start
            return result

        return run

    for part, name, function in originals:
        setattr(part, name, timer(function))
    try:
        yield spent
    finally:
        for part, name, _ in originals:
            delattr(part, name)


def creation(args, model, size) -> list:
    """Share of a creation's time outside U-Net and VAE."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(folder, 4 * args.batch_size, size)
        dataset = photographs(folder)
        seconds = {}
        with timed_model(model.backbone.diffusion, args.device) as spent:
            for name in ('warm-up', 'measured'):
                spent['seconds'] = 0.0
                start = time.perf_counter()
                create(
                    model,
                    dataset,
                    f'{folder}/store_{name}',
                    seed=0,
                    round=0,
                    T=400,
                    steps=10,
                    batch_size=args.batch_size,
                    progress=False,
                )
                wait(args.device)
                seconds[name] = time.perf_counter() - start
    total = seconds['measured']
    return [
        ('creation, per image', total / (4 * args.batch_size), 's'),
        ('creation: share of time outside U-Net and VAE', 100 * (1 - spent['seconds'] / total), '%'),
    ]


def backbone(args, model, size) -> list:
    """DiffusionBackbone against VAE and U-Net called by hand on the same images."""
    body = model.backbone.eval()
    diffusion = body.diffusion
    images = (torch.rand(args.batch_size, 3, *size) * 2 - 1).to(args.device)
    tokens = body._condition.sequence.expand(args.batch_size, -1, -1)

    @torch.no_grad()
    def bare():
        latents = diffusion.vae.encode(diffusion._prepare(images)).latent_dist.mean
        diffusion.unet(latents * diffusion.vae.config.scaling_factor, 1, tokens)

    seconds = alternate({'bare': bare, 'backbone': lambda: body(images)}, args.rounds, args.device)
    return [
        ('bare diffusers forward', seconds['bare'], 's'),
        ('DiffusionBackbone: ratio to it', seconds['backbone'] / seconds['bare'], 'x'),
    ]


def strength_by_class(args, model, size) -> list:
    """Generation with a map of levels against one level for all pixels."""
    diffusion = model.backbone.diffusion
    images = (torch.rand(args.batch_size, 3, *size) * 2 - 1).to(args.device)
    levels = torch.full((args.batch_size, *size), 400, dtype=torch.int32, device=images.device)
    levels[:, : size[0] // 2, ::3], levels[:, size[0] // 2 :, ::5] = 0, 100
    told, seeds = diffusion.text.embed(['']), range(args.batch_size)
    plain = PartialNoiseGenerator(T=400, steps=10)
    by_class = PartialNoiseGenerator(T=dict(default=400, a=0, b=100), steps=10)
    seconds = alternate(
        {
            'plain': lambda: plain.generate(diffusion, images, told, seeds, 400),
            'by class': lambda: by_class.generate(diffusion, images, told, seeds, 400, levels=levels),
        },
        args.rounds,
        args.device,
        # other work on the machine counts less so
        time.process_time if args.device == 'cpu' else time.perf_counter,
    )
    return [('strength by class: ratio to one level', seconds['by class'] / seconds['plain'], 'x')]


def composition(args, model, size) -> list:
    """Pictures of 512x512 with one to four things pasted in, in a second of processor time."""
    cv2.setNumThreads(0)
    rates, names = [], [f'c{i}' for i in range(19)]
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(folder, 20, (512, 512))
        dataset = photographs(folder)
        settings = CreationSettings(compose=dict(classes=names[:5]))
        compose = composer_of(settings, ('segmentation',), dataset)
        entries = [source_entry(dataset, i) for i in range(20)]
        images = [read_source(dataset, i, settings) for i in range(20)]
        for number in (20, 200):  # in the first few all things are cut
            start = time.process_time()
            for i in range(number):
                compose(Sample(str(i), i % 20, 0, i, 400), entries[i % 20], images[i % 20])
            rates.append(number / (time.process_time() - start))
    rows = ('composition, 512x512: first pictures', 'composition, 512x512: things known')
    return [(name, rate, 'images/s/core') for name, rate in zip(rows, rates)]


def main() -> None:
    parts = dict(backbone=backbone, creation=creation, strength=strength_by_class, composition=composition)
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--parts', nargs='+', choices=parts, default=list(parts), help='what is measured')
    args = parser.parse_args()
    size = ARCHITECTURES[args.model]['size']
    with random_pipeline(args.model) as folder:
        model = segmentor(args.model, folder, args.device).eval()
        figures = [parts[name](args, model, size) for name in args.parts]
    report(f'Generation, {args.model}', sum(figures, []), args)


if __name__ == '__main__':
    main()
