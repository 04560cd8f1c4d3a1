"""Labels of one kind of rooms, a test in another: do synthetic pictures of the other kind add to the usual means?

    python benchmarks/shifted_rooms.py --shift night --seeds 0 1 2   # renders, trains the model on, all arms: hours
    python benchmarks/shifted_rooms.py --shift night --seeds 0 1 2 --table
    python benchmarks/shifted_rooms.py --shift simulator --backbone ResNet-18 --warm-up 300 --self-improving 150

"night": labels by day; by night the same rooms have one coloured lamp, dark windows and a noisy camera. The embedded
diffusion model is first trained on with unlabelled pictures of both hours.
"simulator": labels of a cheap simulator that draws flat colours without textures, lamp and camera; the test is on rooms
in full. The embedded diffusion model has seen unlabelled rooms in full alone, and stays as it is.

mIoU is of the validation rooms of the other kind. Arms have the diffusion model's frozen features, or with --backbone
one from scratch.
"""

import argparse
import json
import os
import os.path as osp
from pathlib import Path

import rooms_experiment as rooms
from experiment import Arm, Experiment, keep_settings
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_backbones import BACKBONES, use_backbone
from shift import Shift, arms, set_shift

import diff2in1_mm
from diff2in1_mm.datasets.rooms import THINGS
from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.pretraining.training import DiffusionTraining
from diff2in1_mm.utils.atomic_files import write_atomic

#: Of each shift what rooms are with labels and in the test, in words and as options of the renderer.
SHIFTS = dict(
    night=(('days', {}), ('nights', dict(hour='night'))),
    simulator=(('simulated rooms', dict(shading='flat')), ('rooms in full', {})),
)
#: Options of the arms of each. Colours of the simulator are those of the rooms: only nights are recoloured.
CREATED = dict(
    night=dict(look='target'),
    simulator=dict(copies_per_source=4, by_class=dict(default=800, **dict.fromkeys(THINGS, 400))),
)


def render(args: argparse.Namespace) -> None:
    """Labelled, unlabelled and validation pictures of both kinds."""
    for (_, look), folder in zip(SHIFTS[args.shift], ('labelled', 'target')):
        root = osp.join(args.data_root, folder)
        make_rooms(root, ['train', 'val', 'unlabelled'], counts=dict(unlabelled=args.num_unlabelled), **look)


def continued(args: argparse.Namespace) -> str:
    """Folder of the diffusion model of both kinds; trained where it is not there."""
    work_dir = osp.join(args.data_root, 'diffusion')
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_rooms.py'))
    cfg.pop('rooms')
    cfg.data_root, cfg.pretrained, cfg.work_dir, cfg.mirror = args.data_root, args.pipeline, work_dir, True
    cfg.images.update(path='both', captions='captions.json')
    end = args.diffusion_iterations
    cfg.denoiser.optim_wrapper.optimizer.lr = 6e-4
    cfg.denoiser.param_scheduler[1]['end'] = cfg.denoiser.train_cfg.max_iters = end
    for hook in cfg.denoiser.custom_hooks[1:]:
        hook.interval = end
    if not osp.isdir(osp.join(work_dir, 'pipeline')):
        _join(args.data_root)
        DiffusionTraining(cfg, resume=True).run()
    return osp.join(work_dir, 'pipeline')


def _join(root: str) -> None:
    """One folder of the unlabelled pictures of both kinds, with captions."""
    captions, both = {}, osp.join(root, 'both')
    os.makedirs(both, exist_ok=True)
    for kind in ('labelled', 'target'):
        for name, text in json.loads(Path(root, kind, 'captions_unlabelled.json').read_text()).items():
            captions[f'{kind}_{name}'] = text
            if not osp.exists(osp.join(both, f'{kind}_{name}')):
                os.link(osp.join(root, kind, 'images/unlabelled', name), osp.join(both, f'{kind}_{name}'))
    write_atomic(osp.join(root, 'captions.json'), json.dumps(captions).encode())


def configure(args: argparse.Namespace, arm: Arm, seed: int, shift: Shift) -> Config:
    """The configuration of an arm."""
    (_, source), (_, target) = SHIFTS[args.shift]
    own = argparse.Namespace(**vars(args))
    own.data_root = osp.join(args.data_root, 'labelled')
    cfg = rooms.configure(own, arm._replace(family='strong'), seed)
    cfg.train_dataloader.dataset.dataset.update(source)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=osp.join(args.data_root, 'target'), **target)
    if args.backbone:
        use_backbone(cfg, args.backbone, own.pipeline)
    cfg.train_dataloader.batch_size = 16  # of all arms, in both stages
    captions = '{caption} at night' if args.shift == 'night' else None
    set_shift(cfg, arm, shift, 64 if args.backbone else args.copies, captions)
    return cfg


def add_shift(parser: argparse.ArgumentParser) -> None:
    """The option that says which arms there are."""
    parser.add_argument('--shift', choices=list(SHIFTS), default='night', help='(default: %(default)s)')


def main() -> None:
    chosen = argparse.ArgumentParser(add_help=False)
    add_shift(chosen)
    shift = chosen.parse_known_args()[0].shift
    (labelled, _), (target, _) = SHIFTS[shift]
    all_arms = arms(labelled, target, **CREATED[shift])
    parser = rooms.rooms_arguments(
        __doc__, all_arms, data_root=f'data/rooms_{shift}', out=f'work_dirs/rooms_{shift}', cached_images=6000
    )
    add_shift(parser)
    parser.add_argument('--num-unlabelled', type=int, default=2000, help='pictures of each kind')
    parser.add_argument('--diffusion-iterations', type=int, default=1000, help='of 16 pictures, for the night')
    parser.add_argument('--backbone', choices=list(BACKBONES), help='from scratch, in place of the frozen features')
    parser.add_argument('--prepare', action='store_true', help='render and train the diffusion model only')
    args = parser.parse_args()
    args.data_root = osp.abspath(args.data_root)
    init_default_scope('mmseg')
    if not args.table:
        render(args)
        if shift == 'night':
            args.pipeline = continued(args)
    if args.prepare:
        return
    places = Shift(
        *(osp.join(args.data_root, part) for part in ('target/images/unlabelled', 'target/images', 'labelled/images'))
    )
    places.announce()
    if not args.table:
        keep_settings(args.out, args)
    runs = Experiment(
        args.out,
        all_arms,
        'grainy' if args.backbone else 'recoloured',
        'mIoU',
        lambda arm, seed: configure(args, arm, seed, places),
        args.warm_up,
        cache=FeatureCache(args.cached_images),
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
