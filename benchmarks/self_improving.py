"""Time and memory of a self-improving iteration against a supervised one on the same batch.

    python benchmarks/self_improving.py                     # the small model, CPU
    python benchmarks/self_improving.py --model sd15        # Stable Diffusion 1.5, GPU
    python benchmarks/self_improving.py --train lora --with-cp
    python benchmarks/self_improving.py --cached            # the images' maps are in memory on both sides

Both train the same FPN head on the same images with a frozen backbone, or with one whose denoiser is trained along. In
the self-improving iteration half of the images are synthetic: theta_C labels them, and theta_E trains on the mix. A
logged one, which comes once in so many, also measures the losses of both kinds and how far the two agree.
"""

import copy
import resource

import torch
from common import ARCHITECTURES, alternate, arguments, clock_of, random_pipeline, report, segmentor
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from diff2in1_mm.self_improving.pseudo_labels import BatchPass, ViewSettings
from diff2in1_mm.self_improving.theta_c import ThetaC
from diff2in1_mm.tasks import labeller_for


def batch(size, count: int, device: str, synthetic: bool, num_classes: int = 19) -> dict:
    """Images and label maps as the data preprocessor gives them; every other one synthetic."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, *size, generator=generator) * 2 - 1
    samples = []
    for i in range(count):
        labels = torch.randint(num_classes, (1, *size), generator=generator)
        meta = dict(
            img_shape=size, pad_shape=size, ori_shape=size, sample_id=str(i), synthetic=synthetic and i % 2 == 1
        )
        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=labels.to(device))
        samples.append(sample)
    return dict(inputs=images.to(device), data_samples=samples)


def iteration(model, data: dict, optimizer: OptimWrapper) -> None:
    """Forward, backward and step, as ``train_step`` does after the data preprocessor."""
    with optimizer.optim_context(model):
        losses = model(**data, mode='loss')
    optimizer.update_params(model.parse_losses(losses)[0])


def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--train', choices=['lora', 'full'], help='train the denoiser along')
    parser.add_argument('--with-cp', action='store_true', help='gradient checkpointing of the denoiser')
    parser.add_argument('--cached', action='store_true', help='maps of all images are kept in memory')
    args = parser.parse_args()
    kept = 2 * args.batch_size if args.cached else 0
    size = ARCHITECTURES[args.model]['size']
    with random_pipeline(args.model) as folder:
        model = segmentor(
            args.model, folder, args.device, train=args.train, with_cp=args.with_cp, cached_images=kept
        ).train()
    optimizer = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5))
    real = batch(size, args.batch_size, args.device, synthetic=False)
    mixed = batch(size, args.batch_size, args.device, synthetic=True)
    before = _allocated(args.device)
    theta_c = ThetaC(model)
    memory = _allocated(args.device) - before
    passes = {
        view: BatchPass(model, labeller_for(model), ViewSettings(student_view=view), seed=0)
        for view in ('same', 'strong' if args.train else 'feature_dropout', 'strong')
    }

    def self_improving(view, logged=False):
        def run():
            passes[view].theta_c, passes[view].measuring = theta_c, logged
            iteration(model, copy.copy(mixed), optimizer)
            passes[view].theta_c = None
            theta_c.update(model, 0.002)

        return run

    seconds = alternate(
        {
            'supervised': lambda: iteration(model, real, optimizer),
            **{view: self_improving(view) for view in passes},
            'same, logged': self_improving('same', logged=True),
        },
        args.rounds,
        args.device,
        clock_of(args.device),
    )
    base = seconds['supervised']
    rows = [('supervised iteration', base, 's')]
    rows += [
        (f'self-improving, student_view={view}: ratio to supervised', seconds[view] / base, 'x')
        for view in (*passes, 'same, logged')
    ]
    rows.append(('theta_C: tensors', theta_c.bytes / 2**20, 'MiB'))
    if args.device.startswith('cuda'):
        rows += [
            ('theta_C: memory taken on the device', memory / 2**20, 'MiB'),
            ('peak memory', torch.cuda.max_memory_allocated() / 2**30, 'GiB'),
        ]
    else:
        rows.append(('peak memory of the process', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 'GiB'))
    saved = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    rows.append(('weights in a checkpoint (theta_C and theta_E)', 2 * saved / 2**20, 'MiB'))
    report(f'Self-improving iteration, {args.model}', rows, args)


def _allocated(device: str) -> int:
    return torch.cuda.memory_allocated() if device.startswith('cuda') else 0


if __name__ == '__main__':
    main()
