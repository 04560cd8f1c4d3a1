"""Does self-improvement add to the controls? CamVid, few labels, every arm of equal length.

    python tools/train_diffusion.py configs/diffusion_camvid.py --amp \\
        --work-dir work_dirs/diffusion_camvid --cfg-options data_root=data/camvid
    python benchmarks/camvid_experiment.py --data-root data/camvid \\
        --pipeline work_dirs/diffusion_camvid/pipeline --seeds 0 1 2 --out work_dirs/camvid

Frozen features of images that come again are kept over all runs of a process.
"""

from experiment import Arm, Experiment, experiment_arguments, use_part
from mmengine.config import Config
from mmengine.registry import MODELS

import diff2in1_mm
from diff2in1_mm.creation.generator import Generated, PartialNoiseGenerator
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

# What regularises the real images, as much as on Rooms: channel dropout on the frozen features of
# every sample, and photometric copies of the photographs.
DROPOUT = {'model.backbone.feature_dropout': 0.2}
JITTER = dict(type='PhotometricCopies', copies=4)

ARMS = {
    'real': Arm('plain', dict(creation=None, momentum=1.0), 'real images only'),
    'real + EMA': Arm('plain', dict(creation=None), 'theta_C averages theta_E'),
    'frozen labels': Arm(
        'plain', dict(targets='creation', student_view='same'), 'labels of synthetic images as they were created'
    ),
    'source labels': Arm(
        'plain',
        dict(targets='creation', student_view='same'),
        'synthetic images, labels of the photographs that they were made from',
        {'custom_hooks.0.creation.label_from': 'source'},
    ),
    'same view': Arm('plain', dict(student_view='same'), 'the method as published'),
    'feature dropout': Arm('plain', dict(student_view='feature_dropout'), 'channel dropout on synthetic samples'),
    'strong real + EMA': Arm('strong', dict(creation=None), 'photometric copies, channel dropout on all samples'),
    'strong real, synthetic': Arm(
        'strong', dict(student_view='same'), 'the last, with synthetic images under the same dropout'
    ),
    'strong view': Arm('plain', dict(student_view='strong'), 'photometric view of synthetic samples'),
    'photometric real': Arm(
        'plain',
        dict(targets='creation', student_view='strong'),
        'the photographs and their labels in place of synthetic ones, photometric view',
        {'custom_hooks.0.creation.generator': 'Photographs', 'custom_hooks.0.creation.label_from': 'source'},
    ),
}
BASELINE = 'real + EMA'


@MODELS.register_module()
class Photographs(PartialNoiseGenerator):
    """The source images as they are: what a view of theta_E's does without new pictures."""

    def generate(self, diffusion, images, condition, seeds, T, taps=()) -> Generated:
        return Generated(images.clone(), {})


def configure(args, arm: Arm, seed: int) -> Config:
    """The shipped config with the data, the pipeline and the settings of one arm."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_camvid.py'))
    options = {'model.backbone.diffusion': args.pipeline, 'randomness.seed': seed, 'model.backbone.cached_images': 4000}
    if arm.family == 'strong':
        options.update(DROPOUT)
        cfg.train_dataloader.dataset.dataset.pipeline.insert(3, JITTER)
    cfg.merge_from_dict({**options, **arm.options})
    use_part(cfg, args, arm, seed)
    return cfg


def main() -> None:
    args = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/camvid',
        pipeline='work_dirs/diffusion_camvid/pipeline',
        out='work_dirs/camvid_experiment',
        num_labelled=50,
        warm_up=800,
        self_improving=400,
        T=300,
    ).parse_args()
    experiment = Experiment(
        args.out,
        ARMS,
        BASELINE,
        'mIoU',
        lambda arm, seed: configure(args, arm, seed),
        args.warm_up,
        cache=FeatureCache(4000),
        args=args,
    )
    if not args.table:
        experiment.run(args.arms, args.seeds)
    print(experiment.table(args.seeds))


if __name__ == '__main__':
    main()
