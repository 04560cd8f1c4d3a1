"""Labels by day, a test by night: does the diffusion model's night add to recolouring and to self-labelled pictures?

    python benchmarks/night_rooms.py --seeds 0 1 2           # renders, continues the model, runs all arms: hours
    python benchmarks/night_rooms.py --seeds 0 1 2 --table
    python benchmarks/night_rooms.py --seeds 0 1 2 --backbone ResNet-18 --out work_dirs/night_resnet  # from scratch

By night the same rooms have one coloured lamp, dark windows and a noisy camera. The embedded diffusion model is first
trained on with unlabelled pictures of both hours, and arms have its frozen features. Labels are of the day, mIoU is
of the night's validation rooms. Controls: strong photometric distortion; the colours of unlabelled night pictures;
these pictures themselves, labelled by theta_C.
"""

import argparse
import json
import os
import os.path as osp
from functools import lru_cache
from pathlib import Path

import numpy as np
import rooms_experiment as rooms
import torch
from experiment import Arm, Experiment, keep_settings
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from own_backbones import BACKBONES, use_backbone

import diff2in1_mm
from diff2in1_mm.creation.generator import Generated, PartialNoiseGenerator
from diff2in1_mm.datasets.looks import grained, noise_of
from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.pretraining.training import DiffusionTraining
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.image_values import to_bytes, to_unit_range

HOURS = ('day', 'night')
#: Distortion that reaches what a night does to brightness and colour.
_STRONG = dict(brightness_delta=48, contrast_range=(0.2, 1.5), saturation_range=(0.3, 1.7), hue_delta=36)
_KEPT = dict(targets='creation', student_view='same')
_CREATED = 'custom_hooks.0.creation'


def _created(**options) -> dict:
    """Options of an arm's creation; batches hold as many real images as the controls' do."""
    return {**{f'{_CREATED}.{name}': value for name, value in options.items()}, **rooms._TWICE}


ARMS = {
    'day': Arm('strong', dict(creation=None), 'the day, regularised'),
    'distorted': Arm('distorted', dict(creation=None), 'the day, strong photometric distortion'),
    'recoloured': Arm('recoloured', dict(creation=None), 'the day in the colours of night pictures'),
    'recoloured, more real': Arm(
        'recoloured', dict(creation=None), '"recoloured", batches as large as with synthetic samples', rooms._TWICE
    ),
    'night pictures': Arm(
        'recoloured',
        dict(student_view='same'),
        '"recoloured", and unlabelled night pictures with the labels of theta_C',
        _created(generator='RealPictures'),
    ),
    'synthetic, source labels': Arm(
        'recoloured',
        _KEPT,
        '"recoloured", and synthetic nights with the labels of their days',
        _created(look='night', label_from='source'),
    ),
    'synthetic, theta_C': Arm(
        'recoloured',
        dict(student_view='same'),
        '"recoloured", and synthetic nights with the labels of theta_C',
        _created(look='night'),
    ),
    'the same by night': Arm(
        'recoloured',
        _KEPT,
        'oracle: "recoloured", and the labelled rooms rendered by night',
        _created(generator='SameByNight', label_from='source'),
    ),
    'grainy': Arm(
        'grainy', dict(creation=None), '"recoloured, more real", as noisy as night pictures are', rooms._TWICE
    ),
    'grainy, synthetic': Arm(
        'grainy',
        _KEPT,
        '"grainy", and synthetic nights with the labels of their days, as noisy',
        _created(look='night', label_from='source'),
    ),
    'grainy, by night': Arm(
        'grainy',
        _KEPT,
        'oracle: "grainy", and the labelled rooms rendered by night',
        _created(generator='SameByNight', label_from='source'),
    ),
}


class _Given(PartialNoiseGenerator):
    """Hands out pictures that are there."""

    def generate(self, diffusion, images, condition, seeds, T, taps=()) -> Generated:
        found = np.stack([self.picture(image, seed) for image, seed in zip(to_bytes(images), seeds)])
        return Generated(to_unit_range(torch.from_numpy(found).permute(0, 3, 1, 2).to(images.device)), {})

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        """RGB uint8 (H, W, 3) in place of a source image (3, H, W)."""
        raise NotImplementedError


@MODELS.register_module()
class RealPictures(_Given):
    """Unlabelled pictures of the night."""

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        files = _unlabelled(os.environ['NIGHT_ROOMS'])
        return load_image(files[seed % len(files)])


@MODELS.register_module()
class SameByNight(_Given):
    """What was rendered of the same seed by night."""

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        return load_image(_by_content(os.environ['NIGHT_ROOMS'])[image.permute(1, 2, 0).cpu().numpy().tobytes()])


@TRANSFORMS.register_module()
class NightGrain(BaseTransform):
    """Adds what noise an image has less than a night picture that is drawn, synthetic ones too."""

    def transform(self, results: dict) -> dict:
        files = _unlabelled(os.environ['NIGHT_ROOMS'])
        wanted = _grain(files[np.random.randint(len(files))])
        results['img'] = grained(results['img'], wanted, np.random.randint(2**31))
        return results


@lru_cache(maxsize=None)
def _grain(path: str) -> float:
    return noise_of(load_image(path))


@lru_cache(maxsize=1)
def _unlabelled(root: str) -> list[str]:
    return sorted(map(str, Path(root, 'night/images/unlabelled').glob('*.jpg')))


@lru_cache(maxsize=1)
def _by_content(root: str) -> dict[bytes, str]:
    """Pixels of a labelled picture by day -> path of the same by night."""
    days = sorted(Path(root, 'day/images/train').glob('*.png'))
    return {load_image(str(p)).tobytes(): str(p).replace('/day/', '/night/') for p in days}


def render(args: argparse.Namespace) -> None:
    """Both hours, and one folder of the unlabelled pictures of both, with captions."""
    captions, both = {}, osp.join(args.data_root, 'both')
    os.makedirs(both, exist_ok=True)
    for hour in HOURS:
        root = osp.join(args.data_root, hour)
        make_rooms(root, ['train', 'val', 'unlabelled'], counts=dict(unlabelled=args.num_unlabelled), hour=hour)
        for name, text in json.loads(Path(root, 'captions_unlabelled.json').read_text()).items():
            captions[f'{hour}_{name}'] = text
            if not osp.exists(osp.join(both, f'{hour}_{name}')):
                os.link(osp.join(root, 'images/unlabelled', name), osp.join(both, f'{hour}_{name}'))
    write_atomic(osp.join(args.data_root, 'captions.json'), json.dumps(captions).encode())


def continued(args: argparse.Namespace) -> str:
    """Folder of the diffusion model of both hours; trained where it is not there."""
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
        DiffusionTraining(cfg, resume=True).run()
    return osp.join(work_dir, 'pipeline')


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The configuration of an arm."""
    own = argparse.Namespace(**vars(args))
    own.data_root, own.pipeline = osp.join(args.data_root, 'day'), osp.join(args.data_root, 'diffusion/pipeline')
    cfg = rooms.configure(own, arm._replace(family='strong'), seed)
    night = osp.join(args.data_root, 'night')
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=night, hour='night')
    pictures = osp.join(night, 'images/unlabelled')
    if args.backbone:
        use_backbone(cfg, args.backbone, own.pipeline)
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    distorting = next(step for step in pipeline if step['type'] in ('PhotometricCopies', 'PhotoMetricDistortion'))
    if arm.family == 'distorted':
        distorting.update(_STRONG)
    elif arm.family in ('recoloured', 'grainy'):
        place, copies = pipeline.index(distorting), 64 if args.backbone else args.copies
        pipeline[place] = dict(type='RecolouredCopies', images=pictures, copies=copies)
        if arm.family == 'grainy':
            pipeline.insert(place + 1, dict(type='NightGrain'))
    creation = cfg.custom_hooks[0].creation
    if creation is not None and creation.get('look'):
        creation.look = pictures
        creation.condition = dict(type='Restyle', templates=['{caption} at night'])
    return cfg


def main() -> None:
    parser = rooms.rooms_arguments(
        __doc__, ARMS, data_root='data/rooms_by_night', out='work_dirs/night_rooms', cached_images=6000
    )
    parser.add_argument('--num-unlabelled', type=int, default=2000, help='pictures of each hour')
    parser.add_argument('--diffusion-iterations', type=int, default=1000, help='of 16 pictures')
    parser.add_argument('--backbone', choices=list(BACKBONES), help='from scratch, in place of the frozen features')
    parser.add_argument('--prepare', action='store_true', help='render and train the diffusion model only')
    args = parser.parse_args()
    args.data_root = osp.abspath(args.data_root)
    os.environ['NIGHT_ROOMS'] = args.data_root
    init_default_scope('mmseg')
    if not args.table:
        render(args)
        continued(args)
    if args.prepare:
        return
    if not args.table:
        keep_settings(args.out, args)
    runs = Experiment(
        args.out,
        ARMS,
        'recoloured',
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
