"""Does the method help on your data? Runs a config's controls and method over several seeds, and says so.

Real images alone, real images under stronger regularisation, and each of them with synthetic images: equal in length,
schedule and number of images. OUT/does_it_help.md gets the paired table and one sentence for each method,
OUT/does_it_help.png the differences. Finished runs are not repeated: the same command goes on where it was."""

import argparse
import os
import os.path as osp

from diff2in1_commands import add_common_options, new_parser, program, stop

EXAMPLES = """\
examples:
  # the config that comes with the package, a third of its length, three seeds
  python tools/does_it_help.py configs/diff2in1_rooms.py --share 0.3
  # more seeds later: only they are run
  python tools/does_it_help.py configs/diff2in1_rooms.py --share 0.3 --seeds 0 1 2 3 4
  # things pasted between images, which is a strong control where things are small and rare
  python tools/does_it_help.py configs/diff2in1_rooms.py --paste lamp plant ball block
  # the two arms that cost least
  python tools/does_it_help.py my_config.py --arms real method

The config needs a SelfImprovingHook and a SyntheticMixDataset; tools/switch_in.py writes them into one without."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('--out', help='folder of all runs; default work_dirs/CONFIG_NAME_helps')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='one run of every arm each')
    parser.add_argument('--share', type=float, default=1.0, help="part of the config's length to run (default: all)")
    parser.add_argument(
        '--arms', nargs='+', metavar='ARM', help='only these, and the first that shares their warm-up; default: all'
    )
    parser.add_argument('--paste', nargs='+', metavar='CLASS', help='two arms more that paste things of these classes')
    parser.add_argument(
        '--cached-images',
        type=int,
        default=4000,
        help='images whose frozen features are kept over all runs, where the config keeps any (default: %(default)s)',
    )
    parser.add_argument('--metric', help='figure of the validation that decides; default the first known one')
    parser.add_argument('--rule', choices=['greater', 'less'], help='what of a --metric of your own is better')
    parser.add_argument('--table', action='store_true', help='only what is there already')
    add_common_options(parser)
    args = parser.parse_args(argv)
    if args.rule and not args.metric:
        parser.error(f'--rule {args.rule} is about --metric: name that, too')
    args.work_dir = None
    return args


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.comparison.arms import arms_of, configure_arm
from diff2in1_mm.comparison.lengths import shorten
from diff2in1_mm.comparison.metrics import Metric, deciding, read_metric
from diff2in1_mm.comparison.plot import plot
from diff2in1_mm.comparison.runs import ArmRuns, first_of
from diff2in1_mm.comparison.table import best_control, table, verdict
from diff2in1_mm.launch.config import load_config
from diff2in1_mm.launch.processes import prepare_processes
from diff2in1_mm.launch.read_config import check_has
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.preflight.inputs import check_data, check_hook_data
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.configs import find_hook, type_name
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence


def prepare(args: argparse.Namespace) -> ArmRuns:
    """The runs, checked before the first one."""
    cfg = load_config(args)
    check_has(cfg, args.config, 'model', 'train_dataloader', 'train_cfg')
    if cfg.launcher != 'none':
        raise UserError('does_it_help compares in one process: leave out --launcher')
    if find_hook(cfg, 'SelfImprovingHook') is None or type_name(cfg.train_dataloader.dataset) != 'SyntheticMixDataset':
        raise UserError(
            f'{args.config} has no SelfImprovingHook with a SyntheticMixDataset, so that there is nothing to compare: '
            'tools/switch_in.py writes both into it'
        )
    creation = find_hook(cfg, 'SelfImprovingHook').get('creation')
    if creation is None:
        raise UserError('SelfImprovingHook.creation is None in this config: give the settings that are to be compared')
    if len(set(args.seeds)) < len(args.seeds):
        raise UserError(f'--seeds {args.seeds} names one twice')
    if args.paste and find_hook(cfg, 'SelfImprovingHook').get('targets') == 'unlabelled':
        raise UserError("--paste joins images, which targets='unlabelled' does not go with: leave --paste out")
    arms = arms_of(args.paste, creation.get('unlabelled') is not None)
    args.arms = args.arms or list(arms)
    unknown = [name for name in args.arms if name not in arms]
    if unknown:
        raise UserError(f'--arms {unknown[0]!r} is none of {", ".join(map(repr, arms))}')
    if not any(arms[name].control for name in args.arms) or all(arms[name].control for name in args.arms):
        raise UserError('--arms needs a control and a method, such as: --arms real method')
    if args.metric:
        read_metric(args.metric, (), rule_of(args))  # before the runs, not behind them
    warm_up = shorten(cfg, args.share)
    args.out = args.out or cfg.work_dir + '_helps'
    check_writable(args.out, '--out')
    check_hook_data(cfg)
    check_data(cfg, 'train_dataloader', 'val_dataloader')
    args.arms = list(dict.fromkeys(name for arm in args.arms for name in (first_of(arms, arm), arm)))
    for name in args.arms:
        configure_arm(cfg, arms[name], args.seeds[0], args.paste or ())  # what cannot be made is told now
    if not args.table:
        _keep_settings(args, cfg)
    prepare_processes(cfg)
    cache = None
    if cfg.model.backbone.get('cached_images'):
        cfg.model.backbone.cached_images = args.cached_images
        cache = FeatureCache(args.cached_images)
    return ArmRuns(args.out, arms, lambda arm, seed: configure_arm(cfg, arm, seed, args.paste or ()), warm_up, cache)


def _keep_settings(args: argparse.Namespace, cfg) -> None:
    """Writes the config that all runs of a folder share, or compares it with what is there."""
    path, text = osp.join(args.out, 'config.py'), cfg.pretty_text
    if args.paste:
        text += f'# pasted: {" ".join(args.paste)}\n'
    if not osp.exists(path):
        os.makedirs(args.out, exist_ok=True)
        write_atomic(path, text.encode())
        return
    with open(path, encoding='utf-8') as file:
        if file.read() != text:
            raise UserError(f'{args.out} holds runs of other settings ({path}): give another --out, or remove it')


def metric_of(runs: ArmRuns, args: argparse.Namespace) -> Metric:
    """The figure that decides: the one asked for, or the first that is known.

    Raises:
        ValueError: No run has ended, or none has such a figure, or nobody said whether more of it is better.
    """
    summaries = [runs.summary(name, seed) for name in args.arms for seed in args.seeds]
    found = next((list(summary['stages']['self_improving']) for summary in summaries if summary), None)
    if found is None:
        raise UserError(f'{args.out} holds no finished run yet: leave out --table')
    if args.metric and args.metric not in found:
        raise UserError(f'--metric {args.metric!r} is none of {", ".join(found)}')
    return read_metric(args.metric or deciding(found), found, rule_of(args))


def rule_of(args: argparse.Namespace) -> bool | None:
    """Whether more of the figure is better; None: the user does not say."""
    return None if args.rule is None else args.rule == 'greater'


def report(runs: ArmRuns, args: argparse.Namespace) -> str:
    """Table and sentences, written beside the runs with their picture."""
    metric = metric_of(runs, args)
    base = best_control(runs, args.arms, args.seeds, metric)
    if base is None:
        raise UserError(f'{args.out} holds no finished control yet: leave out --table')
    methods = [name for name in args.arms if not runs.arms[name].control]
    sentences = [verdict(runs, name, base, args.seeds, metric) for name in methods]
    text = '\n\n'.join([table(runs, args.arms, args.seeds, metric, base), *sentences]) + '\n'
    write_atomic(osp.join(args.out, 'does_it_help.md'), text.encode())
    plot(runs, args.arms, base, args.seeds, metric, osp.join(args.out, 'does_it_help.png'))
    return text


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        runs = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with told_in_a_sentence(program(), args.out):
        if not args.table:
            runs.run(args.arms, args.seeds)
        print(f'\n{report(runs, args)}')


if __name__ == '__main__':
    main()
