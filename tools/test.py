"""Evaluates a checkpoint. Of a self-improving run it evaluates theta_C, which its weights are."""

import argparse
import os.path as osp
from collections.abc import Sequence
from typing import Any

from diff2in1_commands import add_common_options, new_parser, program, stop

EXAMPLES = """\
examples:
  python tools/test.py configs/diff2in1_camvid.py work_dirs/diff2in1_camvid/iter_1200.pth
  # predictions beside the images, and as files
  python tools/test.py CONFIG CHECKPOINT --show-dir shown --out predictions"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--work-dir', help='where metrics and logs are written; default work_dirs/CONFIG_NAME')
    parser.add_argument(
        '--out', help='where predictions are written: a folder for segmentation, a .pkl file for detection'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir',
        help='folder for pictures of the predictions, of every '
        "image unless the config's visualization hook has an interval of its own: "
        'SHOW_DIR/vis_data/vis_image, of detectors WORK_DIR/TIMESTAMP/SHOW_DIR '
        '(SHOW_DIR itself if it is an absolute path)',
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show waits')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation (the config's tta_model and tta_pipeline; "
        'boxes without them: the image and its mirror image)',
    )
    add_common_options(parser)
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.evaluation.multi_task_evaluator import metrics_of
from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, load_weights, read_checkpoint
from diff2in1_mm.launch.config import load_config
from diff2in1_mm.launch.processes import prepare_processes
from diff2in1_mm.launch.quiet_start import quiet_start
from diff2in1_mm.launch.read_config import check_has
from diff2in1_mm.preflight.boxes import check_annotation_files
from diff2in1_mm.preflight.findings import Findings, on_main_process
from diff2in1_mm.preflight.inputs import check_data, check_evaluated, watch_inputs
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.utils.configs import type_name
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence
from diff2in1_mm.utils.optional import scope_of


def prepare(args: argparse.Namespace) -> Config:
    """The config of the evaluation, checked before anything is built."""
    cfg = load_config(args)
    check_has(cfg, args.config, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    check_checkpoint(args.checkpoint)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if isinstance(cfg.test_evaluator, tuple):  # of which MMEngine makes no evaluator
        cfg.test_evaluator = list(cfg.test_evaluator)
    check_writable(cfg.work_dir, '--work-dir')
    check_data(cfg, 'test_dataloader')
    if args.show or args.show_dir:
        _show(cfg, args)
    if args.tta:
        _use_tta(cfg)
    if args.out:
        _write_predictions(cfg, args.out)
    return cfg


def _show(cfg: Config, args: argparse.Namespace) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            "--show and --show-dir need default_hooks.visualization (MMSegmentation's "
            "SegVisualizationHook, MMDetection's DetVisualizationHook)."
        )
    if cfg.get('visualizer') is None:
        raise UserError(
            "--show and --show-dir need a visualizer in the config (MMSegmentation's "
            "SegLocalVisualizer, MMDetection's DetLocalVisualizer) with vis_backends "
            "= [dict(type='LocalVisBackend')]."
        )
    hook.update(draw=True, show=args.show, wait_time=args.wait_time)
    if args.show_dir and hook.get('interval', 50) == 50:  # the libraries' default
        hook.interval = 1
    if args.show_dir and scope_of(cfg) == 'mmdet':
        hook.test_out_dir = args.show_dir
    elif args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def _use_tta(cfg: Config) -> None:
    if type_name(cfg.model) in ('NormalEstimator', 'DepthMapEstimator', 'MultiTaskEstimator'):
        raise UserError(
            '--tta votes on classes: for normals, depth and several tasks average with the mirrored '
            'image instead, by --cfg-options model.test_cfg.flip=True'
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        if scope_of(cfg) != 'mmdet':
            raise UserError(
                "--tta needs tta_model and tta_pipeline in the config, as MMSegmentation's data set configs have them."
            )
        _mirror_boxes(cfg, dataset.pipeline)
    if type_name(cfg.tta_model) == 'SegTTAModel':  # the same result in fewer passes
        cfg.tta_model.type = 'BatchedSegTTAModel'
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _mirror_boxes(cfg: Config, pipeline: list) -> None:
    """The default of MMDetection's own tool: boxes of the image and of its mirror image, joined."""
    if _has_part(cfg.model, ('mask_head', 'panoptic_head')):
        raise UserError(
            "--tta joins boxes, and MMDetection's DetTTAModel has nothing for masks: "
            'leave it out, or give tta_model and tta_pipeline in the config.'
        )
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
    if 'tta_pipeline' not in cfg:
        pack = dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction'),
        )
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*pipeline[:-1], dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _has_part(node: Any, names: Sequence[str]) -> bool:
    """Whether a part of a config has one of these keys, at any depth."""
    if isinstance(node, dict):
        return any(value and key in names or _has_part(value, names) for key, value in node.items())
    return isinstance(node, (list, tuple)) and any(_has_part(item, names) for item in node)


def _write_predictions(cfg: Config, out: str) -> None:
    if scope_of(cfg) == 'mmdet':
        if not out.endswith(('.pkl', '.pickle')):
            raise UserError(f'--out {out} should be a .pkl file for a detector.')
        check_writable(osp.dirname(out) or '.', '--out')
        metrics = cfg.test_evaluator
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        cfg.test_evaluator = [*metrics, dict(type='DumpDetResults', out_file_path=out)]
        return
    check_writable(out, '--out')
    metrics = metrics_of(cfg.test_evaluator)
    for metric in metrics:
        # those of several tasks name their files alike
        own = osp.join(out, metric.get('prefix') or type_name(metric)) if len(metrics) > 1 else out
        metric.update(output_dir=own, keep_results=True)


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        cfg = prepare(args)
        content = read_checkpoint(args.checkpoint)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with quiet_start(cfg.work_dir) as start, told_in_a_sentence(program(), cfg.work_dir):
        with start.building():
            prepare_processes(cfg)
            runner = Runner.from_cfg(cfg)
        check_annotation_files(cfg, 'test')
        findings = Findings.of_config(cfg)
        on_main_process(lambda: check_evaluated(runner.test_loop, 'test_evaluator', findings))
        watch_inputs(runner)
        load_weights(runner.model, content, args.checkpoint)  # the Runner would only warn
        start.begin()
        runner.test()


if __name__ == '__main__':
    main()
