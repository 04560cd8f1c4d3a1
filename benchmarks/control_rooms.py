"""Do new pictures to the label maps that there are make training images? A control branch of Rooms.

    python benchmarks/control_rooms.py --seeds 0 1 2                       # 100 labels: hours of two cores
    python benchmarks/control_rooms.py --seeds 0 1 2 --table

For each draw of labelled rooms a control branch of the embedded model is trained by tools/train_diffusion.py, on these
rooms alone. Then much noise is added (T = 900), the branch keeps the label map, and the samples have its labels. Arms,
lengths and controls are those of rooms_experiment.py; the oracle has new rooms of the renderer with their true labels.
"""

import argparse
import os
import os.path as osp

import rooms_experiment as rooms
from experiment import Arm, Experiment, keep_settings
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from own_backbones import BACKBONES, use_backbone

import diff2in1_mm
from diff2in1_mm.datasets.rooms import THINGS
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.pretraining.tuning import training_of

_KEPT = dict(targets='creation', student_view='same')
_CREATED = 'custom_hooks.0.creation'
_FOLLOWED = 'control'


def _followed(text: str, hook: dict = _KEPT, **options) -> Arm:
    """An arm whose generator follows the label maps of its sources."""
    own = dict(label_from='source', T=900, control=_FOLLOWED) | options
    created = {f'{_CREATED}.{name}': value for name, value in own.items()}
    return Arm('strong', hook, text, {**created, **rooms._TWICE})


PASTED = rooms.ARMS['pasted, 32 variants']
ARMS = {
    **{name: rooms.ARMS[name] for name in ('regularised', 'more real', 'source labels', 'fresh real, true labels')},
    'followed': _followed('labels of the sources, which new pictures follow'),
    'followed, 4 copies': _followed('the last, four of each room', copies_per_source=4),
    'followed, 600': _followed('the last but one, from T = 600', T=600),
    'followed, theta_C': _followed('"followed", labelled by theta_C', dict(student_view='same'), label_from='fresh'),
    'pasted, 32 variants': PASTED,
}
_NEW = _followed(
    '"pasted, 32 variants", and new pictures of pasted layouts, eight of each room',
    compose=dict(classes=list(THINGS)),
    copies_per_source=8,
)
ARMS['pasted, followed'] = _NEW._replace(family=PASTED.family, options=PASTED.options | _NEW.options)


def labelled_rooms(args: argparse.Namespace, seed: int) -> str:
    """A folder of links to the labelled rooms of a seed."""
    folder = osp.join(args.out, f'labelled-{seed}')
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py')).train_dataloader.dataset.dataset
    cfg.update(num_labelled=args.num_labelled, seed=seed, data_root=args.data_root)
    for kind in ('images', 'maps'):
        os.makedirs(osp.join(folder, kind), exist_ok=True)
    for entry in DATASETS.build(cfg).load_data_list():
        for kind, path in (('images', entry['img_path']), ('maps', entry['seg_map_path'])):
            link = osp.join(folder, kind, osp.basename(path))
            if not osp.exists(link):
                os.symlink(osp.abspath(path), link)
    return folder


def branch(args: argparse.Namespace, seed: int) -> str:
    """Folder of the control branch of a seed; trained where it is not there."""
    work_dir = osp.join(args.out, f'branch-{seed}')
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_control.py'))
    cfg.data_root, cfg.pretrained, cfg.work_dir = labelled_rooms(args, seed), args.pipeline, work_dir
    captions = osp.abspath(osp.join(args.data_root, 'captions_train.json'))
    cfg.images = dict(path='images', size=(128, 128), captions=captions, maps='maps', palette='RoomsDataset')
    cfg.randomness = dict(seed=seed)
    section = cfg.denoiser
    section.model.update(dtype='fp32', gradient_checkpointing=False)
    section.train_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
    section.optim_wrapper.update(accumulative_counts=1)
    section.optim_wrapper.optimizer.lr = args.branch_lr
    end = args.branch_iterations
    section.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=end, eta_min=args.branch_lr / 30),
    ]
    section.train_cfg.max_iters = end
    for hook in section.custom_hooks:
        hook.interval = end
    if not osp.isdir(osp.join(work_dir, 'control')):
        training_of(cfg, resume=True).run()
    return osp.join(work_dir, 'control')


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The configuration of an arm."""
    cfg = rooms.configure(args, arm, seed)
    if args.backbone:
        use_backbone(cfg, args.backbone, args.pipeline)
    creation = cfg.custom_hooks[0].creation
    if creation is not None and creation.get('control') == _FOLLOWED:
        creation.control = dict(source=branch(args, seed))
    return cfg


def main() -> None:
    parser = rooms.rooms_arguments(__doc__, ARMS, out='work_dirs/control_rooms', cached_images=6000)
    parser.add_argument('--branch-iterations', type=int, default=600, help='of 16 rooms')
    parser.add_argument('--branch-lr', type=float, default=3e-4)
    parser.add_argument('--backbone', choices=list(BACKBONES), help='from scratch, in place of the frozen features')
    args = parser.parse_args()
    args.out = osp.abspath(args.out)
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmseg')
    runs = Experiment(
        args.out,
        ARMS,
        'regularised',
        'mIoU',
        lambda arm, seed: configure(args, arm, seed),
        args.warm_up,
        cache=FeatureCache(args.cached_images),
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
