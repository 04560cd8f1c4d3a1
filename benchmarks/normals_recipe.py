"""The authors' recipe of normals with its maps kept on disk, against what their second stage does in an iteration.

    OMP_NUM_THREADS=1 python benchmarks/normals_recipe.py --batch-size 2 --rounds 1 --device cpu

The model of configs/diff2in1_nyu_normals.py with Stable Diffusion 1.5's architecture at random weights; half of the
images are synthetic. Theirs is repeated here by what docs/parity.md says of the released code: autoencoder and U-Net
run twice, and gradients go through both sets of parameters over the whole batch. It is not their code, whose own
overhead is left out. Ours reads the maps of every image, and theta_C labels the synthetic rows. On a CPU seconds are
processor time.
"""

import copy
import tempfile

import torch
from common import alternate, arguments, clock_of, random_pipeline, report
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from self_improving import iteration

import diff2in1_mm
from diff2in1_mm.models.backbones.kept_features import KeptFeatures
from diff2in1_mm.self_improving.pseudo_labels import BatchPass, ViewSettings
from diff2in1_mm.self_improving.theta_c import ThetaC
from diff2in1_mm.tasks import labeller_for


def estimator(folder: str, device: str):
    """The config's model, whose maps are the same each time."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_nyu_normals.py')).model
    cfg.backbone.update(
        diffusion=dict(source=folder, dtype='fp32'), timestep=1, noise=False, sample_posterior=False, cached_images=0
    )
    model = MODELS.build(cfg)
    model.init_weights()
    return model.to(device).train()


def batch(size: tuple[int, int], count: int, device: str) -> dict:
    """Images and normals as the data preprocessor gives them; every other one synthetic."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, *size, generator=generator) * 2 - 1
    samples = []
    for i in range(count):
        meta = dict(img_shape=size, pad_shape=size, ori_shape=size, sample_id=str(i), synthetic=i % 2 == 1)
        sample = SegDataSample(metainfo=meta)
        normals = torch.randn(3, *size, generator=generator)
        sample.gt_normal_map = PixelData(data=torch.nn.functional.normalize(normals, dim=0).to(device))
        samples.append(sample)
    return dict(inputs=images.to(device), data_samples=samples)


def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--size', type=int, default=512, help='of the square images')
    parser.set_defaults(model='sd15')
    args = parser.parse_args()
    init_default_scope('mmseg')
    size = (args.size, args.size)
    with random_pipeline(args.model) as folder:
        model = estimator(folder, args.device)
    optimizer = OptimWrapper(torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3.57e-4))
    data = batch(size, args.batch_size, args.device)
    creator = torch.nn.ModuleList([copy.deepcopy(model.neck), copy.deepcopy(model.decode_head)])

    def theirs() -> None:
        model.backbone.feature_cache = None
        maps = [model.backbone.features(data['inputs']) for _ in range(2)]
        neck, head = creator
        of_creator = head.loss(neck(maps[0]), data['data_samples'], model.train_cfg)
        of_learner = model.decode_head.loss(model.neck(maps[1]), data['data_samples'], model.train_cfg)
        optimizer.update_params(sum(of_learner.values()) + sum(of_creator.values()))

    with tempfile.TemporaryDirectory() as folder:
        kept = KeptFeatures(folder, keep='maps', dtype='fp16')
        labels = BatchPass(model, labeller_for(model), ViewSettings(student_view='same'), seed=0)
        theta_c = ThetaC(model)

        def ours() -> None:
            model.backbone.feature_cache = kept
            labels.theta_c = theta_c
            iteration(model, copy.copy(data), optimizer)
            labels.theta_c = None
            theta_c.update(model, 0.002)

        seconds = alternate({'theirs': theirs, 'ours': ours}, args.rounds, args.device, clock_of(args.device))
        on_disk = kept.bytes_of(model.backbone, size) / 1e6
    rows = [
        ('what the authors do in an iteration', seconds['theirs'], 's'),
        ('ours with maps kept', seconds['ours'], 's'),
        ('ratio', seconds['ours'] / seconds['theirs'], 'x'),
        ('on disk', on_disk, 'MB an image'),
    ]
    report(f'The recipe of normals, {args.model}', rows, args)


if __name__ == '__main__':
    main()
