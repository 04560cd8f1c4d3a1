"""When does synthetic data add to a well-regularised baseline? Rooms, every arm of equal length.

    python benchmarks/rooms_experiment.py --seeds 0 1 2 3 4            # the central setting
    python benchmarks/rooms_experiment.py --vary T num_labelled        # one factor at a time
    python benchmarks/rooms_experiment.py --vary T num_labelled --table --plots docs/images
    python benchmarks/rooms_experiment.py --vary pipeline --pipelines young old diff2in1_mm/rooms
    python benchmarks/rooms_experiment.py --task normals --seeds 0 1 2  # or depth

Frozen features of images that come again are kept over all runs of a process, 1.2 MB an image.
"""

import argparse
import copy
import os
import os.path as osp
import statistics

import fresh_rooms  # noqa: F401  (registers FreshRooms and TrueLabels)
from experiment import Arm, Experiment, experiment_arguments, keep_settings, set_lengths
from mmengine.config import Config

import diff2in1_mm
from diff2in1_mm.comparison.table import paired
from diff2in1_mm.datasets.rooms import THINGS
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

# Synthetic samples come on top of as many real ones as the warm-up's batches hold.
_TWICE = {'train_dataloader.batch_size': 16}  # with one per real one; see configure()
_FRESH = {'custom_hooks.0.creation.generator': 'FreshRooms', **_TWICE}
_SURE = dict(confidence=0.8)
_THINGS_STAY = {'custom_hooks.0.creation.T': dict(_delete_=True, default=500, **dict.fromkeys(THINGS, 0)), **_TWICE}
ARMS = {
    'real': Arm('plain', dict(creation=None, momentum=1.0), 'real images, flips'),
    'real + EMA': Arm('plain', dict(creation=None), 'theta_C averages theta_E'),
    'regularised': Arm('strong', dict(creation=None), 'the last, photometric copies and channel dropout'),
    'more real': Arm('strong', dict(creation=None), 'the last, batches as large as with synthetic samples', _TWICE),
    'fresh real': Arm('strong', dict(student_view='same'), 'new rooms in place of synthetic ones', _FRESH),
    'fresh real, true labels': Arm(
        'strong', dict(targets='creation', student_view='same'), 'the last, labelled by the renderer', _FRESH
    ),
    'fresh real, sure': Arm(
        'strong',
        dict(student_view='feature_dropout', **_SURE),
        'new rooms, sure pixels only, more dropout on them',
        _FRESH,
    ),
    'frozen labels': Arm(
        'strong', dict(targets='creation', student_view='same'), 'synthetic images, labels as they were created', _TWICE
    ),
    'source labels': Arm(
        'strong',
        dict(targets='creation', student_view='same'),
        'synthetic images, labels of the real ones that they were made from',
        {'custom_hooks.0.creation.label_from': 'source', **_TWICE},
    ),
    'filtered': Arm(
        'strong',
        dict(targets='creation', student_view='same'),
        "the last, without pixels of a loss above 1.25 times their class's mean",
        {'custom_hooks.0.creation.label_from': 'source', 'custom_hooks.0.creation.filter_above': 1.25, **_TWICE},
    ),
    'rare first': Arm(
        'strong',
        dict(targets='creation', student_view='same'),
        "'source labels', more samples of rooms that show rare classes",
        {
            'custom_hooks.0.creation.label_from': 'source',
            'custom_hooks.0.creation.sources': 'by_class_frequency',
            **_TWICE,
        },
    ),
    'pasted': Arm('pasted', dict(creation=None), 'real images, furniture of others pasted in with its labels'),
    'things kept': Arm(
        'strong',
        dict(targets='creation', student_view='same'),
        'source labels, furniture as it is and walls and floor noised to 500',
        {'custom_hooks.0.creation.label_from': 'source', **_THINGS_STAY},
    ),
    'composed': Arm(
        'pasted',
        dict(targets='creation', student_view='same'),
        "'things kept' of pictures with furniture of others pasted in, beside 'pasted' real images",
        {
            'custom_hooks.0.creation.label_from': 'source',
            'custom_hooks.0.creation.compose': dict(classes=list(THINGS)),
            **_THINGS_STAY,
        },
    ),
    'composed, 8 copies': Arm(
        'pasted',
        dict(targets='creation', student_view='same'),
        "'composed', eight of each room",
        {
            'custom_hooks.0.creation.label_from': 'source',
            'custom_hooks.0.creation.compose': dict(classes=list(THINGS)),
            'custom_hooks.0.creation.copies_per_source': 8,
            **_THINGS_STAY,
        },
    ),
    'pasted, 32 variants': Arm(
        'pasted, 32 variants',
        dict(creation=None),
        "'pasted' with eight times as many compositions of each room",
        {'train_dataloader.dataset.dataset.pipeline.0.variants': 32},
    ),
    'composed, 32 copies': Arm(
        'pasted, 32 variants',
        dict(targets='creation', student_view='same'),
        "'composed', 32 of each room, beside 32 pasted variants",
        {
            'train_dataloader.dataset.dataset.pipeline.0.variants': 32,
            'custom_hooks.0.creation.label_from': 'source',
            'custom_hooks.0.creation.compose': dict(classes=list(THINGS)),
            'custom_hooks.0.creation.copies_per_source': 32,
            **_THINGS_STAY,
        },
    ),
    'pasted, more real': Arm(
        'pasted', dict(creation=None), "'pasted', batches as large as with synthetic samples", _TWICE
    ),
    'pasted, 8 variants': Arm(
        'pasted, 8 variants',
        dict(creation=None),
        "'pasted' with twice as many compositions of each room",
        {'train_dataloader.dataset.dataset.pipeline.0.variants': 8},
    ),
    'things kept, by class': Arm(
        'strong',
        dict(targets='creation', student_view='same'),
        "the last, with theta_C's labels of walls and floor",
        {'custom_hooks.0.creation.label_from': 'by_class', **_THINGS_STAY},
    ),
    'same view': Arm('strong', dict(student_view='same'), 'the full method', _TWICE),
    'feature dropout': Arm(
        'strong', dict(student_view='feature_dropout'), 'the full method, more dropout on synthetic samples', _TWICE
    ),
    'strong view': Arm(
        'strong', dict(student_view='strong'), 'the full method, photometric view of synthetic samples', _TWICE
    ),
    'sure': Arm(
        'strong',
        dict(student_view='feature_dropout', **_SURE),
        'feature dropout, pixels of confidence 0.8 only',
        _TWICE,
    ),
    'ceiling': Arm(
        'ceiling',
        dict(creation=None),
        'real + EMA with 5,000 labels',
        {
            'train_dataloader.dataset.dataset.split': 'ceiling',
            'train_dataloader.dataset.dataset.count': 5000,
            'train_dataloader.dataset.dataset.num_labelled': None,
        },
    ),
}
BASELINE = 'regularised'
# Their thresholds are those of class maps.
SEGMENTATION_ONLY = (
    *('fresh real, sure', 'sure', 'filtered', 'rare first'),
    *('pasted', 'pasted, more real', 'pasted, 8 variants', 'composed', 'composed, 8 copies'),
    *('pasted, 32 variants', 'composed, 32 copies'),
    *('things kept', 'things kept, by class'),
)
# Config, figures and their scale for each task; the first one is plotted. Errors: less is better.
TASKS = dict(
    segmentation=('diff2in1_rooms.py', ['mIoU'], 1),
    normals=('diff2in1_rooms_normals.py', ['mean', 'median'], 1),
    depth=('diff2in1_rooms_depth.py', ['rmse', 'abs_rel'], 100),
)  # centimetres, per cent
#: Of the central setting what experiments with arms of these leave as it is, by the names of the options here.
CENTRE = dict(task='segmentation', ratio=1.0, channels=64, dropout=0.2, copies=4, norm='BN', no_class_weights=False)
# One factor at a time around the central setting (the defaults of the options); None: --pipelines.
FACTORS = dict(
    T=(200, 400, 600, 800),
    ratio=(0.5, 1.0, 2.0),
    num_labelled=(10, 25, 50, 100, 200),
    channels=(32, 64, 128),
    warm_up=(400, 1600),
    pipeline=None,
)
_SHARE_WARM_UP = ('T', 'ratio')  # what the warm-up does not see
#: Factors and figures in words, for the axes of plots.
WORDS = dict(
    T='T, noise step of the synthetic images (of 999)',
    ratio='synthetic images per real one',
    num_labelled='labelled rooms',
    channels='channels of the head',
    warm_up='length of the warm-up (iterations)',
    pipeline='diffusion model',
    mIoU='mIoU (%)',
    mean='mean error (degrees)',
    rmse='root mean square error (cm)',
)


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The shipped config with the settings of one arm."""
    cfg = Config.fromfile(diff2in1_mm.config_path(TASKS[args.task][0]))
    hook, data = cfg.custom_hooks[0], cfg.train_dataloader.dataset
    hook.creation.update(T=args.T, copies_per_source=max(1, round(args.ratio)))
    data.ratio = args.ratio
    data.dataset.update(num_labelled=args.num_labelled, seed=seed)
    options = {
        'model.backbone.diffusion': args.pipeline,
        'randomness.seed': seed,
        'model.backbone.cached_images': args.cached_images,
        'model.neck.out_channels': args.channels,
        'model.decode_head.in_channels': [args.channels] * 4,
        'model.decode_head.channels': args.channels,
    }
    if args.norm == 'GN':
        options['model.decode_head.norm_cfg'] = dict(type='GN', num_groups=16, requires_grad=True)
    if args.no_class_weights:
        options['model.decode_head.loss_decode.class_weight'] = None
    if arm.family != 'plain' and arm.family != 'ceiling':
        options['model.backbone.feature_dropout'] = args.dropout
        data.dataset.pipeline.insert(2, dict(type='PhotometricCopies', copies=args.copies))
    if arm.family.startswith('pasted'):
        things = dict(type='PasteThings', classes=list(THINGS), variants=args.copies)
        load, rest = data.dataset.pipeline[:2], [things, *data.dataset.pipeline[2:]]
        data.dataset.pipeline = load
        data.dataset = dict(type='MultiImageMixDataset', dataset=data.dataset, pipeline=rest)
    if arm is ARMS['fresh real, true labels']:
        data.dataset.pipeline.insert(2, dict(type='TrueLabels'))
    cfg.merge_from_dict({**options, **arm.options})
    if _TWICE.items() <= arm.options.items():
        cfg.train_dataloader.batch_size = round(8 * (1 + args.ratio))
    set_lengths(cfg, args.warm_up, args.self_improving)
    # looked up anew: merging has put copies in the place of what it changed
    labelled = cfg.train_dataloader.dataset.dataset
    for dataset in (labelled.get('dataset', labelled), cfg.val_dataloader.dataset):
        dataset.data_root = args.data_root
    cfg.test_dataloader = cfg.val_dataloader
    cfg.custom_hooks[0].update(arm.hook)
    return cfg


def experiment(args: argparse.Namespace, factor: str, value, cache: FeatureCache, metric: str) -> Experiment:
    """The experiment at the central setting, or with one factor changed."""
    central = osp.join(args.out, 'central')
    own = copy.copy(args)
    out = central
    if factor is not None:
        setattr(own, factor, value)
        if value != getattr(args, factor):
            out = osp.join(args.out, f'{factor}-{folder_name(value)}')
    shared = central if factor in _SHARE_WARM_UP else out
    return Experiment(
        out,
        ARMS,
        BASELINE,
        metric,
        lambda arm, seed: configure(own, arm, seed),
        own.warm_up,
        shared,
        cache,
        TASKS[args.task][2],
        own,
    )


def folder_name(value) -> str:
    """Of a factor's value; of paths the whole, since every pipeline has the same last name."""
    return str(value).strip(os.sep).replace(os.sep, '_')


def values(args: argparse.Namespace, factor: str) -> tuple:
    """What a factor is set to."""
    return FACTORS[factor] or tuple(args.pipelines)


def summary(args: argparse.Namespace) -> str:
    """Markdown: a row for each value of the factors, a column for each arm, runs in brackets."""
    others = [name for name in args.arms if name != BASELINE]
    lines = ['| factor | value | ' + ' | '.join([f'"{BASELINE}"', *others]) + ' |', '|---' * (len(others) + 3) + '|']
    for factor in args.vary:
        for value in values(args, factor):
            found = experiment(args, factor, value, None, TASKS[args.task][1][0])
            base, cells = found.scores(BASELINE, args.seeds), []
            for name in [BASELINE, *others]:
                scores = found.scores(name, args.seeds)
                mean, spread, _ = paired(scores, base)
                if not scores or mean is None:
                    cells.append('-')
                    continue
                figure = (
                    f'{statistics.mean(scores.values()):.2f}'
                    if name == BASELINE
                    else f'{mean:+.2f}' + (f' ± {spread:.2f}' if spread is not None else '')
                )
                runs = ' '.join(f'{scores[s]:.2f}' if s in scores else '-' for s in args.seeds)
                cells.append(f'{figure} ({runs})')
            lines.append(f'| {factor} | {osp.basename(str(value))} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def plot(args: argparse.Namespace, factor: str) -> None:
    """Arms over the values of a factor, with their deviation over the seeds."""
    import matplotlib

    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    metric = TASKS[args.task][1][0]
    for name in args.arms:
        colour = f'C{args.arms.index(name)}'
        places, means, gains, spreads = [], [], [], []
        for value in values(args, factor):
            found = experiment(args, factor, value, None, metric)
            scores = found.scores(name, args.seeds)
            mean, spread, _ = paired(scores, found.scores(BASELINE, args.seeds))
            if scores:
                places.append(value if isinstance(value, (int, float)) else osp.basename(value))
                means.append(sum(scores.values()) / len(scores))
                gains.append(mean)
                spreads.append(spread or 0)
        left.plot(places, means, marker='o', color=colour, label=name)
        if name != BASELINE and None not in gains:
            right.errorbar(places, gains, spreads, marker='o', color=colour, capsize=3)
    left.set(xlabel=WORDS[factor], ylabel=WORDS[metric])
    right.set(xlabel=WORDS[factor], ylabel=f'{WORDS[metric]}\nminus "{BASELINE}", paired')
    right.axhline(0, color='black', linewidth=0.8)
    left.legend(fontsize=7)
    figure.tight_layout()
    os.makedirs(args.plots, exist_ok=True)
    figure.savefig(osp.join(args.plots, f'rooms_{args.task}_{factor}.png'), dpi=110)
    plt.close(figure)


def rooms_arguments(description: str, arms: dict[str, Arm], **own) -> argparse.ArgumentParser:
    """The options of an experiment at the centre, but for its ``own`` defaults."""
    central = dict(data_root='data/rooms', pipeline='diff2in1_mm/rooms', num_labelled=100, T=400)
    lengths = dict(warm_up=400, self_improving=200)
    return experiment_arguments(description, arms, **{**central, **lengths, **CENTRE, **own})


def main() -> None:
    parser = rooms_arguments(__doc__, ARMS)
    parser.add_argument('--task', choices=list(TASKS))
    parser.add_argument('--ratio', type=float, help='synthetic samples per real one')
    parser.add_argument('--channels', type=int, help='width of neck and head')
    parser.add_argument('--dropout', type=float, help='of feature channels')
    parser.add_argument('--copies', type=int, help='photometric copies of an image')
    parser.add_argument('--norm', choices=['BN', 'GN'], help='of the head; give another --out')
    parser.add_argument('--no-class-weights', action='store_true', help='of the loss; give another --out')
    parser.add_argument(
        '--vary', nargs='+', choices=list(FACTORS), default=[], help='run these factors instead of the central setting'
    )
    parser.add_argument(
        '--pipelines',
        nargs='+',
        default=['diff2in1_mm/rooms'],
        help='diffusion models for --vary pipeline, for example of several ages',
    )
    parser.add_argument(
        '--cached-images',
        type=int,
        default=6000,
        help='images whose features are kept in memory, 1.2 GB for 1,000 (default: %(default)s)',
    )
    parser.add_argument('--plots', help='folder for a plot of each factor in --vary')
    args = parser.parse_args()
    if args.task != 'segmentation' and args.no_class_weights:
        parser.error(f'the losses of {args.task} have no class weights: drop --no-class-weights')
    if args.task != 'segmentation':
        args.arms = [name for name in args.arms if name not in SEGMENTATION_ONLY]
    args.out = args.out or f'work_dirs/rooms_{args.task}_experiment'
    if not args.table:
        keep_settings(args.out, args)  # of the centre, around which factors vary
    cache, cached_of = None, None
    points = [(f, v) for f in args.vary for v in values(args, f)] or [(None, None)]
    for factor, value in points:
        pipeline = value if factor == 'pipeline' else None
        if cache is None or pipeline != cached_of:  # pixels are its keys: features of one model
            cache, cached_of = FeatureCache(args.cached_images), pipeline
        title = 'central setting' if factor is None else f'{factor} = {value}'
        for metric in TASKS[args.task][1]:
            found = experiment(args, factor, value, cache, metric)
            if not args.table:
                found.run(args.arms, args.seeds)  # what is finished is not run again
            print(f'\n{title}: {metric}\n\n{found.table(args.seeds)}')
    if args.vary:
        print(f'\n{summary(args)}')
    for factor in args.vary if args.plots else []:
        plot(args, factor)


if __name__ == '__main__':
    main()
