"""Makes synthetic samples with a trained model: the creation stage alone.

The settings are those of the config's SelfImprovingHook (`creation`); options on the command line
take precedence. An interrupted run goes on with the same command, on any number of processes."""

import argparse
import os.path as osp
import re
from dataclasses import fields

from diff2in1_commands import SOLVERS, add_common_options, new_parser, program, stop

EXAMPLES = """\
examples:
  # what the training run would create, into a folder of its own
  python tools/create_data.py configs/diff2in1_camvid.py CHECKPOINT --out work_dirs/synthetic
  # a first look: the sheet work_dirs/look/preview.png
  python tools/create_data.py CONFIG CHECKPOINT --out work_dirs/look --limit 8 --T 200
  # several strengths, each sample draws one; two samples from each image
  python tools/create_data.py CONFIG CHECKPOINT --out STORE --T 200 400 600 --copies 2
  # four processes, on GPUs or CPUs
  torchrun --nproc_per_node=4 tools/create_data.py CONFIG CHECKPOINT --out STORE --launcher pytorch
  # a job of an array (Slurm, Kubernetes), which knows nothing of the others; then: tools/store.py join STORE
  python tools/create_data.py CONFIG CHECKPOINT --out STORE --shard $SLURM_ARRAY_TASK_ID/64

STORE holds images/, annotations/ (in the label values of your data set) and records/. To train on
it, wrap the data set: dict(type='SyntheticMixDataset', store=STORE, round=0, dataset=...)."""


def share(text: str) -> tuple[int, int]:
    """The numbers of ``I/N``."""
    found = re.fullmatch(r'(\d+)/(\d+)', text)
    if not found or not int(found[1]) < int(found[2]):
        raise argparse.ArgumentTypeError(f'{text!r} is not I/N with I from 0 to N-1: give for example 0/8')
    return int(found[1]), int(found[2])


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('checkpoint', help='of that config; its model labels the samples')
    parser.add_argument(
        '--out', required=True, metavar='STORE', help='folder of the samples: new, or begun by the same command'
    )
    parser.add_argument(
        '--T',
        type=int,
        nargs='+',
        help='step to which images are noised, 1 to 999: larger is more diverse '
        'and less faithful; several: each sample draws one',
    )
    parser.add_argument('--steps', type=int, help='U-Net passes per sample')
    parser.add_argument(
        '--solver',
        choices=SOLVERS,
        help='dpmsolver++ needs about 10 steps, ddim 50 (the released code); euler is for flow-matching models',
    )
    parser.add_argument(
        '--guidance-scale', type=float, help='above 1: follow the captions more closely, for twice the time'
    )
    parser.add_argument(
        '--copies', dest='copies_per_source', metavar='COPIES', type=int, help='samples from each image'
    )
    parser.add_argument('--batch-size', type=int, help='samples that are made together')
    parser.add_argument('--limit', type=int, help='only the first so many images')
    parser.add_argument(
        '--diffusion',
        metavar='SOURCE',
        help='diffusion model, such as diff2in1_mm/rooms, where the backbone of the config is none',
    )
    parser.add_argument(
        '--shard',
        type=share,
        default=(0, 1),
        metavar='I/N',
        help='of a job array: make the share I of N, from 0, without a word to the others; shares may write into one '
        'folder or each into its own',
    )
    parser.add_argument('--seed', type=int, help="default: the config's randomness.seed, or 0")
    parser.add_argument('--device', help="default: 'cuda' where there is a GPU, else 'cpu'")
    add_common_options(parser)
    args = parser.parse_args(argv)
    args.work_dir = None
    if args.T is not None and len(args.T) == 1:
        (args.T,) = args.T
    return args


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info, init_dist
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.creation.create import CreationReport, create
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.creation.stage import together
from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, load_weights, read_checkpoint
from diff2in1_mm.launch.config import creation_of, load_config
from diff2in1_mm.launch.processes import prepare_processes
from diff2in1_mm.launch.read_config import check_has
from diff2in1_mm.preflight.boxes import check_annotation_files
from diff2in1_mm.preflight.inputs import check_data
from diff2in1_mm.preflight.machine import check_device, check_writable
from diff2in1_mm.store.shares import forget_shares, note_share
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.configs import type_name
from diff2in1_mm.utils.errors import UserError, misspellings_named, told_in_a_sentence
from diff2in1_mm.utils.optional import scope_of


def creation_settings(cfg: Config, args: argparse.Namespace) -> dict:
    """The settings of the config's hook, with what the command line says.

    Raises:
        ValueError: One of them is unknown or out of range.
    """
    settings = creation_of(cfg, **{field.name: getattr(args, field.name, None) for field in fields(CreationSettings)})
    CreationSettings.from_dict(settings).build_generator()
    return settings


def prepare(args: argparse.Namespace) -> tuple[Config, dict]:
    """Config and settings, checked before anything is built."""
    cfg = load_config(args)
    check_has(cfg, args.config, 'model', 'train_dataloader')
    init_default_scope(scope_of(cfg) or 'mmengine')
    settings = creation_settings(cfg, args)
    check_checkpoint(args.checkpoint)
    check_device(args.device)
    check_data(cfg, 'train_dataloader')
    check_writable(args.out, '--out')
    return cfg, settings


def build_model(cfg: Config, checkpoint: str) -> torch.nn.Module:
    """The config's model with a checkpoint's weights (theta_C, where the hook wrote it).

    Raises:
        ValueError: The file is no checkpoint of this model.
    """
    content = read_checkpoint(checkpoint)
    model = MODELS.build(cfg.model)
    load_weights(model, content, checkpoint)
    return model


def build_dataset(cfg: Config):
    """The real training data."""
    config = cfg.train_dataloader.dataset
    if type_name(config) == 'SyntheticMixDataset':
        config = config.dataset
    return DATASETS.build(config)


def join_processes(cfg: Config, device: str) -> torch.device:
    """Meet the other processes; the device of this one."""
    prepare_processes(cfg)
    if cfg.launcher != 'none' and not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cuda' and cfg.launcher != 'none':
        device = f'cuda:{torch.cuda.current_device()}'
    return torch.device(device)


def run(cfg: Config, settings: dict, args: argparse.Namespace) -> CreationReport:
    """This process's share; returns when all have done theirs."""
    device = join_processes(cfg, args.device)
    model = build_model(cfg, args.checkpoint).to(device)
    check_annotation_files(cfg, 'train')
    dataset = build_dataset(cfg)
    seed = args.seed if args.seed is not None else cfg.get('randomness', {}).get('seed') or 0
    rank, world_size = get_dist_info()
    job, jobs = args.shard
    place = dict(rank=job * world_size + rank, world_size=jobs * world_size)
    with together():
        report = create(
            model, dataset, args.out, seed=seed, share=args.shard if jobs > 1 else None, **place, **settings
        )
    if jobs > 1:
        if rank == 0:
            note_share(args.out, *args.shard, done=True)
        print_log(
            f'Share {job} of {jobs}: {report.samples} samples made, {report.present} were there. When all shares are '
            f'done: tools/store.py join {args.out}',
            'current',
        )
    elif rank == 0:
        forget_shares(args.out)  # whatever shares were made before, all is there
        _tell(args.out, report)
    return report


def _tell(out: str, report: CreationReport) -> None:
    store = SyntheticStore(out)
    if not len(store):
        raise UserError(f'{out} holds no samples: the warnings of the processes say why')
    store.merge()
    ignored = sum(record.quality.get('ignored', 0.0) for record in store.records()) / len(store)
    what = 'boxes' if store.tasks == ('instances',) else 'pixels'
    print_log(
        f'{out} holds {len(store)} samples; on average {ignored:.1%} of '
        f'the {what} are ignored. This took {report.seconds:.0f} s. See '
        f'{osp.join(out, "preview.png")}.',
        'current',
    )


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        with misspellings_named():
            cfg, settings = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with told_in_a_sentence(program()):
        run(cfg, settings, args)


if __name__ == '__main__':
    main()
