"""Does self-improvement add to the controls, for detectors? Every arm of equal length.

    python tools/train_diffusion.py configs/diffusion_bccd.py --amp \\
        --work-dir work_dirs/diffusion_bccd --cfg-options data_root=data/bccd
    python benchmarks/detection_experiment.py --seeds 0 1 2     # BCCD: boxes, 50 labelled images
    python benchmarks/detection_experiment.py --config diff2in1_rooms_mask_rcnn.py \\
        --data-root data/rooms --pipeline diff2in1_mm/rooms --num-labelled 100 --seeds 0 \\
        --out work_dirs/rooms_mask_rcnn_experiment

Frozen features of images that come again are kept over all runs of a process.
"""

from experiment import Arm, Experiment, experiment_arguments, use_part
from mmengine.config import Config

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

_HALF = {'train_dataloader.batch_size': 4}
_DROPOUT = {'model.backbone.feature_dropout': 0.5}
ARMS = {
    'real': Arm('plain', dict(creation=None, momentum=1.0), 'real images, flips'),
    'real + EMA': Arm('plain', dict(creation=None), 'theta_C averages theta_E'),
    'half batch': Arm(
        'plain', dict(creation=None), 'the last, as few labelled images per step as with synthetic ones', _HALF
    ),
    'dropout': Arm(
        'plain', dict(creation=None), 'real + EMA with the channel dropout of the last arm on all samples', _DROPOUT
    ),
    'frozen labels': Arm(
        'plain', dict(targets='creation', student_view='same'), 'synthetic images, labels as they were created'
    ),
    'same view': Arm('plain', dict(student_view='same'), 'the full method'),
    'feature dropout': Arm(
        'plain', dict(student_view='feature_dropout'), 'the full method, channel dropout on synthetic samples'
    ),
    'dropout, half batch': Arm('plain', dict(creation=None), '"dropout" with half batches', {**_HALF, **_DROPOUT}),
    'dropout, synthetic': Arm(
        'plain', dict(student_view='same'), 'the full method, channel dropout on all samples', _DROPOUT
    ),
}
BASELINE = 'real + EMA'


def configure(args, arm: Arm, seed: int) -> Config:
    """The shipped config with the data, the pipeline and the settings of one arm."""
    cfg = Config.fromfile(diff2in1_mm.config_path(args.config))
    cfg.merge_from_dict(
        {
            'model.backbone.diffusion': args.pipeline,
            'randomness.seed': seed,
            'model.backbone.cached_images': 4000,
            **arm.options,
        }
    )
    usual = cfg.val_dataloader.dataset.data_root
    use_part(cfg, args, arm, seed)
    cfg.val_evaluator.ann_file = cfg.val_evaluator.ann_file.replace(usual, args.data_root, 1)
    cfg.test_evaluator = cfg.val_evaluator
    return cfg


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/bccd',
        pipeline='work_dirs/diffusion_bccd/pipeline',
        out='work_dirs/bccd_experiment',
        num_labelled=50,
        warm_up=600,
        self_improving=300,
        T=300,
    )
    parser.add_argument('--config', default='diff2in1_bccd.py', help='one of ours, for MMDetection')
    args = parser.parse_args()
    cache = FeatureCache(4000)
    metrics = ['coco/bbox_mAP', 'coco/bbox_mAP_50']
    if 'mask' in args.config:
        metrics.append('coco/segm_mAP')
    for metric in metrics:
        experiment = Experiment(
            args.out,
            ARMS,
            BASELINE,
            metric,
            lambda arm, seed: configure(args, arm, seed),
            args.warm_up,
            cache=cache,
            scale=100,
            args=args,
        )
        if not args.table:
            experiment.run(args.arms, args.seeds)  # what is finished is not run again
        print(f'\n{metric}\n\n{experiment.table(args.seeds)}')


if __name__ == '__main__':
    main()
