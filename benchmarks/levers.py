"""What the literature documents as gaining, each alone and together, on Rooms: labels, choice of sources, views.

    python benchmarks/levers.py --num-labelled 100 --seeds 0 1 2
    python benchmarks/levers.py --num-labelled 100 --seeds 0 1 2 --table

Arms, lengths and controls are those of rooms_experiment.py; another number of labels needs an --out of its own.
The classes' shares that labels follow are counted on the labelled rooms. The table has the mean IoU of the rare classes
below (lamp, plant, ball, block) beside that of all.
"""

import argparse

import cv2
import numpy as np
import rooms_experiment as rooms
from experiment import Arm, Experiment, keep_settings
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from mmseg.evaluation import IoUMetric

from diff2in1_mm.datasets.rooms import CLASSES
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

RARE = ('lamp', 'plant', 'ball', 'block')
_KEPT = dict(targets='creation', student_view='same')
_SAME = dict(student_view='same')
_CREATED = 'custom_hooks.0.creation'
_COUNTED = 'counted'  # in configure(), of the labelled rooms of a seed


def _arm(text: str, hook: dict, **creation) -> Arm:
    return Arm(
        'strong', hook, text, {**{f'{_CREATED}.{name}': value for name, value in creation.items()}, **rooms._TWICE}
    )


ARMS = {
    **{name: rooms.ARMS[name] for name in ('regularised', 'more real', 'same view', 'source labels', 'filtered')},
    'views': _arm('theta_C labels as the mean with the mirror image', dict(labelling=dict(flip=True), **_SAME)),
    'proportions': _arm(
        "theta_C's labels follow the classes' shares (Sinkhorn)", dict(labelling=dict(proportions=_COUNTED), **_SAME)
    ),
    'half proportions': _arm(
        'the last, half as strictly', dict(labelling=dict(proportions=_COUNTED, proportions_strength=0.5), **_SAME)
    ),
    'cutmix': _arm('boxes of one another in half of the images', dict(student_view=dict(cutmix=0.5))),
    'by hardness': _arm('rooms with a high loss more often', _SAME, sources='by_hardness'),
    'by hardness, source labels': _arm(
        'the last, with their labels', _KEPT, sources='by_hardness', label_from='source'
    ),
    'rare first': _arm('rooms of rare classes more often', _SAME, sources='by_class_frequency'),
    'together': _arm(
        'source labels, filtered, by hardness, cutmix',
        dict(targets='creation', student_view=dict(cutmix=0.5)),
        sources='by_hardness',
        label_from='source',
        filter_above=1.25,
    ),
}


@METRICS.register_module()
class RareIoUMetric(IoUMetric):
    """Beside the usual figures the mean of the rare classes."""

    def compute_metrics(self, results: list) -> dict:
        """Of areas (classes,): intersections first, then unions."""
        intersections, unions = (np.sum([area.numpy() for area in areas], axis=0) for areas in [*zip(*results)][:2])
        rare = [CLASSES.index(name) for name in RARE]
        found = 100 * intersections[rare] / unions[rare]
        return {**super().compute_metrics(results), 'rare': round(float(found.mean()), 2)}


def shares(cfg: Config) -> list[float]:
    """Of the classes' pixels in the labelled rooms of a run."""
    dataset = DATASETS.build({**cfg.train_dataloader.dataset.dataset, 'pipeline': []})
    pixels = np.zeros(len(CLASSES))
    for index in range(len(dataset)):
        labels = cv2.imread(dataset.get_data_info(index)['seg_map_path'], cv2.IMREAD_UNCHANGED)
        pixels += np.bincount(labels.ravel(), minlength=256)[: len(CLASSES)]
    return (pixels / pixels.sum()).tolist()


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The configuration of an arm; class IoUs are asked for beside the mean."""
    cfg = rooms.configure(args, arm, seed)
    cfg.val_evaluator = cfg.test_evaluator = dict(type='RareIoUMetric', iou_metrics=['mIoU'])
    labelling = cfg.custom_hooks[0].get('labelling')
    if labelling and labelling.get('proportions') == _COUNTED:
        labelling.proportions = shares(cfg)
    return cfg


def main() -> None:
    parser = rooms.rooms_arguments(__doc__, ARMS, out='work_dirs/levers', cached_images=6000)
    args = parser.parse_args()
    init_default_scope('mmseg')
    if not args.table:
        keep_settings(args.out, args)
    cache = FeatureCache(args.cached_images)
    for metric in ('mIoU', 'rare'):
        runs = Experiment(
            args.out,
            ARMS,
            'regularised',
            metric,
            lambda arm, seed: configure(args, arm, seed),
            args.warm_up,
            cache=cache,
        )
        if not args.table:
            runs.run(args.arms, args.seeds)  # what is finished is not run again
        print(f'\n{metric}\n\n{runs.table(args.seeds)}')


if __name__ == '__main__':
    main()
