"""Does it pay to train the diffusion model along with the heads? Rooms, equal steps, with and without the method.

    python benchmarks/trained_backbones.py --seeds 0 1 2           # all arms: hours of two cores
    python benchmarks/trained_backbones.py --seeds 0 1 2 --table
    python benchmarks/trained_backbones.py --seeds 0 --num-labelled 10 --out work_dirs/trained_10

Every way has the images, losses and steps of rooms_experiment.py's "regularised" and "same view". Rates of what is
trained along are those of VPD's recipe: a tenth of the heads'.
"""

import argparse
import os.path as osp
from typing import Any

import rooms_experiment as rooms
from experiment import Arm, Experiment, keep_settings
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peak_memory import peak_of

import diff2in1_mm
from diff2in1_mm.comparison.table import row
from diff2in1_mm.pretraining.tuning import training_of

#: Options of the backbone, and a sentence.
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    'frozen': ({}, 'frozen'),
    'adapter': (dict(text_adapter=True), "frozen, VPD's text adapter trained"),
    'lora': (dict(train=dict(type='lora', rank=16)), 'LoRA of rank 16'),
    'full': (dict(train='full'), 'all of the U-Net'),
    'clean': ({}, 'frozen, a U-Net tuned for features without noise'),
}
_STAGES = {'control': 'regularised', 'method': 'same view'}
ARMS = {
    f'{way}, {stage}': Arm(way, rooms.ARMS[name].hook, f'{WAYS[way][1]}; {stage}')
    for way in WAYS
    for stage, name in _STAGES.items()
}


def distilled(args: argparse.Namespace) -> str:
    """The folder of the U-Net that "clean" has; made where it is not there."""
    folder = osp.join(args.distilled, 'unet')
    if osp.isdir(folder):
        return folder
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_distil_clean.py'))
    cfg.data_root, cfg.pretrained, cfg.work_dir = osp.join(args.distilled, 'rooms'), args.pipeline, args.distilled
    cfg.images = dict(path='images/unlabelled', size=(128, 128), captions=None)
    cfg.rooms = dict(splits=['unlabelled'], size=(128, 128), counts=dict(unlabelled=args.num_unlabelled))
    cfg.denoiser.model.gradient_checkpointing = False
    cfg.denoiser.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.denoiser.optim_wrapper.optimizer.lr = args.distil_lr
    cfg.denoiser.train_cfg.max_iters = cfg.denoiser.custom_hooks[0].interval = args.distil_iterations
    training_of(cfg, resume=True).run()
    return folder


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The configuration of an arm."""
    stage = 'control' if arm.control else 'method'
    cfg = rooms.configure(args, rooms.ARMS[_STAGES[stage]], seed)
    options = dict(WAYS[arm.family][0])
    if arm.family == 'clean':
        options['diffusion'] = dict(source=args.pipeline, unet=distilled(args))
        cfg.custom_hooks[0].setdefault('creation', None)
        if cfg.custom_hooks[0].creation is not None:
            cfg.custom_hooks[0].creation.diffusion = args.pipeline
    if options.keys() & {'train', 'text_adapter'}:
        options['cached_images'] = 0
    cfg.model.backbone.update(options)
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.denoiser': dict(lr_mult=args.denoiser_rate)})
    cfg.custom_hooks.append(dict(type='PeakMemoryHook'))
    return cfg


def table(runs: Experiment, args: argparse.Namespace) -> str:
    """Markdown: each arm with its difference to the frozen control, seconds of a training and memory."""
    head = ['arm', *(f'seed {s}' for s in args.seeds), 'mean', 'sd', 'minus "frozen, control"', 'p (paired t)']
    lines = [f'| {" | ".join([*head, "minutes", "peak, GiB"])} |', '|---' * (len(head) + 2) + '|']
    base = runs.scores('frozen, control', args.seeds)
    for name, arm in ARMS.items():
        scores = runs.scores(name, args.seeds)
        if scores:
            minutes = sum(runs.seconds(name, seed) for seed in scores) / 60 / len(scores)
            most = max(peak_of(runs.folder(name, seed)) for seed in scores)
            cells = row(arm.text, scores, args.seeds, {} if scores is base or name == 'frozen, control' else base)
            lines.append(f'{cells} {minutes:.1f} | {most:.2f} |')
    return '\n'.join(lines)


def main() -> None:
    parser = rooms.rooms_arguments(__doc__, ARMS, out='work_dirs/trained_backbones', cached_images=2000)
    parser.add_argument('--denoiser-rate', type=float, default=0.1, help="of what is trained along, times the heads'")
    parser.add_argument('--distilled', default='work_dirs/rooms_distilled', help='folder of the clean U-Net')
    parser.add_argument('--distil-iterations', type=int, default=400)
    parser.add_argument('--distil-lr', type=float, default=1e-4)
    parser.add_argument('--num-unlabelled', type=int, default=1000, help='rooms that it is tuned on')
    args = parser.parse_args()
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmseg')
    runs = Experiment(
        args.out, ARMS, 'frozen, control', 'mIoU', lambda arm, seed: configure(args, arm, seed), args.warm_up
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(table(runs, args))


if __name__ == '__main__':
    main()
