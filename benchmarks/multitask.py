"""One model of five tasks against five models of one, on Rooms: Delta_m, time and memory.

    python benchmarks/multitask.py --seeds 0 1 2                       # all arms: hours of two cores
    python benchmarks/multitask.py --seeds 0 --warm-up 100 --self-improving 50 --arms "plain, control" "plain, method"
    python benchmarks/multitask.py --table                             # of what is there
    python benchmarks/multitask.py --time                              # an iteration: five tasks over one, decoders
    python benchmarks/multitask.py --time --model sd15 --size 256 --batch-size 1 --decoders plain --rounds 3
    python benchmarks/multitask.py --sizes                             # parameters of the decoders at the papers' sizes

Models of one task are the multi-task model with that head alone. Delta_m compares each arm with the controls of one
task of the same seed, which are run where they are missing.
"""

import argparse
import os.path as osp
import statistics
import sys
from collections.abc import Sequence

import torch
from common import ARCHITECTURES, alternate, clock_of, machine, random_pipeline
from experiment import set_lengths
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from peak_memory import peak_of

import diff2in1_mm
from diff2in1_mm.comparison.runs import Arm, ArmRuns
from diff2in1_mm.evaluation.multi_task_evaluator import multi_task_gain

TASKS = ('segmentation', 'depth', 'normals', 'boundaries', 'saliency')
FIGURES = ('segmentation/mIoU', 'depth/rmse', 'normals/mean', 'boundaries/odsF', 'saliency/maxF')
DECODERS = dict(
    plain=None,
    InvPT=dict(type='InvPTHead', in_channels=[64] * 4, channels=64, width=64),
    TaskPrompter=dict(
        type='TaskPrompterHead', in_channels=[64] * 4, channels=96, width=64, layers=3, num_heads=4, level=1
    ),
)
#: What the papers' decoders are built with over a ViT-L of 1024 channels, here of PASCAL-Context's five tasks.
PAPERS = dict(
    InvPT=dict(type='InvPTHead', in_channels=[1024] * 4, channels=512, width=576),
    TaskPrompter=dict(type='TaskPrompterHead', in_channels=[1024] * 4, channels=1024, width=768, num_heads=16),
)
OF_PASCAL = dict(segmentation=21, parts=7, saliency=1, normals=3, boundaries=1)
#: To the family of arms that train with photometric copies and dropout of feature channels, as rooms_experiment.py's.
REGULARISED = ', regularised'
SOURCES = {'custom_hooks.0.creation.label_from': dict(segmentation='source', saliency='source')}
ARMS = {
    **{f'{task} alone': Arm(task, dict(creation=None), 'one task, real images') for task in TASKS},
    **{f'{name}, control': Arm(name, dict(creation=None), 'five tasks, real images') for name in DECODERS},
    **{f'{name}, method': Arm(name, {}, 'five tasks, the published method') for name in DECODERS},
    'plain, labels of sources': Arm(
        'plain', dict(targets='creation'), 'labels and saliency of the source images, the others fresh', SOURCES
    ),
    **{
        f'{name}{REGULARISED}{what}': Arm(f'{name}{REGULARISED}', hook, f'five tasks, regularised{what}')
        for name in DECODERS
        for what, hook in (('', dict(creation=None)), (' method', {}))
    },
}


def configure(family: str) -> Config:
    """The shipped config with the heads, metrics and decoder of a family of arms."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms_multitask.py'))
    family, regularised, _ = family.partition(REGULARISED)
    if regularised:
        cfg.train_dataloader.dataset.dataset.pipeline.insert(-2, dict(type='PhotometricCopies', copies=4))
        cfg.model.backbone.feature_dropout = 0.2
    if family in TASKS:
        cfg.model.heads = {family: cfg.model.heads[family]}
        cfg.val_evaluator.metrics = [m for m in cfg.val_evaluator.metrics if m.prefix == family]
    elif DECODERS[family] is not None:
        cfg.model.cross_task = DECODERS[family]
        for head in cfg.model.heads.values():
            head.update(in_channels=[64], in_index=[0], feature_strides=[4])
    cfg.test_evaluator = cfg.val_evaluator
    return cfg


def run_of(args: argparse.Namespace):
    """How an arm of a seed is run."""

    def run(arm: Arm, seed: int) -> Config:
        cfg = configure(arm.family)
        set_lengths(cfg, args.warm_up, args.self_improving)
        cfg.train_dataloader.dataset.dataset.update(data_root=args.data_root, num_labelled=args.num_labelled, seed=seed)
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = args.data_root
            if args.num_validated:
                loader.dataset.num_labelled = args.num_validated
        cfg.randomness.seed = seed
        cfg.custom_hooks[0].update(arm.hook)
        cfg.merge_from_dict(arm.options)
        cfg.custom_hooks.append(dict(type='PeakMemoryHook'))
        return cfg

    return run


def table(runs: ArmRuns, seeds: Sequence[int], stage: str = 'self_improving') -> str:
    """Markdown: figures of each arm as means over the seeds, Delta_m by seed, minutes, peak memory."""
    alone = {
        seed: {f: runs.scores(f'{f.partition("/")[0]} alone', [seed], f, stage).get(seed) for f in FIGURES}
        for seed in seeds
    }
    lines = [f'| arm | {" | ".join(FIGURES)} | Delta_m by seed | minutes | peak, GiB |']
    lines.append('|---' * (len(FIGURES) + 4) + '|')
    for name in ARMS:
        found = {f: runs.scores(name, seeds, f, stage) for f in FIGURES if name in _with(f)}
        ended = sorted(set.intersection(*(set(own) for own in found.values())))
        if not ended:
            continue
        means = [f'{statistics.mean(found[f].values()):.3f}' if f in found else '' for f in FIGURES]
        gains = ''
        if len(found) == len(FIGURES):
            whole = [seed for seed in ended if None not in alone[seed].values()]
            gains = ', '.join(
                f'{multi_task_gain({f: found[f][seed] for f in FIGURES}, alone[seed]):+.1f}' for seed in whole
            )
        minutes = statistics.mean(runs.seconds(name, seed) for seed in ended) / 60
        most = max(peak_of(runs.folder(name, seed)) for seed in ended)
        lines.append(f'| {name} | {" | ".join(means)} | {gains} | {minutes:.1f} | {most:.2f} |')
    return '\n'.join(lines)


def _with(figure: str) -> list[str]:
    """Arms that have a figure."""
    families = (*DECODERS, figure.partition('/')[0])
    return [name for name, arm in ARMS.items() if arm.family.partition(REGULARISED)[0] in families]


def batch(count: int, size: tuple[int, int], device: str) -> tuple[torch.Tensor, list[SegDataSample]]:
    """Random images and labels of all tasks."""
    images = torch.rand(count, 3, *size, device=device) * 2 - 1
    samples = []
    for _ in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
        normals = torch.nn.functional.normalize(torch.randn(3, *size, device=device), dim=0)
        labels = dict(
            gt_sem_seg=torch.randint(0, 12, (1, *size), device=device),
            gt_depth_map=1 + 8 * torch.rand(1, *size, device=device),
            gt_normal_map=normals,
            gt_boundary_map=torch.randint(0, 2, (1, *size), device=device),
            gt_saliency_map=torch.randint(0, 2, (1, *size), device=device),
        )
        sample.set_data({name: PixelData(data=data) for name, data in labels.items()})
        samples.append(sample)
    return images, samples


def time_iterations(args: argparse.Namespace, folder: str | None = None) -> None:
    """Forward, loss, backward and optimizer step of a batch, with the diffusion model's pass and with kept maps.

    Heads are those of the config, over the embedded model or one in ``folder``.
    """
    init_default_scope('mmseg')
    images, samples = batch(args.batch_size, (args.size, args.size), args.device)
    steps = {}
    for family in ('segmentation', *args.decoders):
        cfg = configure(family)
        cfg.model.backbone.cached_images = 0
        cfg.model.data_preprocessor.size = (args.size, args.size)
        if folder is not None:
            cfg.model.backbone.update(diffusion=dict(source=folder), taps='decoder')
            cfg.model.neck.in_channels = ARCHITECTURES[args.model]['unet']['block_out_channels']
        model = MODELS.build(cfg.model).to(args.device).train()
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        with torch.no_grad():
            kept = model.backbone.features(images)

        def step(model=model, optimizer=optimizer, kept=None):
            with model.backbone.serve(kept if kept is not None else model.backbone.features(images)):
                optimizer.update_params(model.parse_losses(model.loss(images, samples))[0])

        steps[f'{family}, whole'] = step
        steps[f'{family}, kept maps'] = lambda step=step, kept=kept: step(kept=kept)
    seconds = alternate(steps, args.rounds, args.device, clock_of(args.device))
    batch_of = f'{args.batch_size} images of {args.size} x {args.size}, {args.model or "rooms"}'
    print(f'An iteration of {batch_of} ({machine(args.device)})')
    for name, value in seconds.items():
        base = seconds[f'segmentation, {name.partition(", ")[2]}']
        print(f'  {name:<28} {1000 * value:8.0f} ms  {value / base:5.2f} x segmentation alone')


def tell_sizes() -> None:
    """Millions of parameters of the decoders, at the papers' sizes and at those of this benchmark."""
    for title, decoders, outputs in (
        ('over ViT-L, five tasks', PAPERS, OF_PASCAL),
        ('over Rooms, five tasks', DECODERS, dict(zip(TASKS, (12, 1, 3, 1, 1)))),
    ):
        for name, decoder in decoders.items():
            if decoder is not None:
                with torch.device('meta'):
                    built = MODELS.build(dict(decoder, out_channels=outputs))
                print(f'{name} {title}: {sum(p.numel() for p in built.parameters()) / 1e6:.2f} M parameters')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/multitask_benchmark', help='folder of all runs')
    parser.add_argument('--data-root', default='data/rooms')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=list(ARMS))
    parser.add_argument('--num-labelled', type=int, default=100)
    parser.add_argument('--num-validated', type=int, help='rooms of the validation; default all 200')
    parser.add_argument('--warm-up', type=int, default=400, help='iterations')
    parser.add_argument('--self-improving', type=int, default=200, help='iterations')
    parser.add_argument('--table', action='store_true', help='only print the table')
    parser.add_argument('--time', action='store_true', help='only time iterations')
    parser.add_argument('--sizes', action='store_true', help='only count parameters')
    parser.add_argument('--decoders', nargs='+', choices=list(DECODERS), default=list(DECODERS), help='of --time')
    parser.add_argument('--model', choices=list(ARCHITECTURES), help='of --time: one of random weights')
    parser.add_argument('--size', type=int, default=128, help='of --time: side of the images')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    if args.time and args.model:
        with random_pipeline(args.model) as folder:
            return time_iterations(args, folder)
    if args.time:
        return time_iterations(args)
    if args.sizes:
        return tell_sizes()
    runs = ArmRuns(osp.abspath(args.out), ARMS, run_of(args), args.warm_up)
    if not args.table:
        alone = [f'{task} alone' for task in TASKS]
        runs.run(list(dict.fromkeys([*alone, *args.arms])), args.seeds)
    print(table(runs, args.seeds))
    print(f'of the warm-up alone:\n{table(runs, args.seeds, "warm_up")}')
    return None


if __name__ == '__main__':
    sys.exit(main())
