"""How many passes of the denoiser does a synthetic image need? KID, labels and time at several numbers of steps.

    python tools/train.py configs/diff2in1_rooms.py                  # the model that labels
    python benchmarks/creation_steps.py work_dirs/diff2in1_rooms/iter_600.pth
    python benchmarks/creation_steps.py CHECKPOINT --T 600 --solver ddim --steps 10 20 50
    python benchmarks/creation_steps.py CHECKPOINT --last-step --steps 10 --num-labelled 30   # two minutes

Every number of steps makes the same samples (the same sources, noise and captions) of the labelled training images;
KID is to the validation images, in features of the diffusion model. "Labels as with N" is the share of pixels that get
the label that the same sample of the most steps gets; "as the source" that of the real image that it was made from.

With ``--last-step`` each number of steps is labelled by ``label_from='last_step'``, from the features of the last
denoising pass, and by 'fresh', a pass over the stored image: the share of the pixels that get the same label from both,
and the processor time of a whole creation by one as a share of that by the other. No KID, as the images are the same.
"""

import argparse
import os.path as osp
import time

import cv2
import numpy as np
import torch
from common import machine
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

import diff2in1_mm
from diff2in1_mm.creation.create import create
from diff2in1_mm.evaluation.generated_images import DiffusionFeatures, distances
from diff2in1_mm.hooks.read_checkpoint import load_weights, read_checkpoint
from diff2in1_mm.store.store import SyntheticStore


@torch.no_grad()
def features(network: torch.nn.Module, images: list[np.ndarray], batch_size: int = 16) -> torch.Tensor:
    """Of RGB images (H, W, 3)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) for image in images]
    batches = [torch.stack(tensors[i : i + batch_size]) for i in range(0, len(tensors), batch_size)]
    return torch.cat([network(batch) for batch in batches])


def samples_of(store: SyntheticStore) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Image and label map of each sample by id."""
    found = {}
    for record in store.records():
        image, annotations = store.read(record)
        found[record.id] = image, next(iter(annotations.values()))
    return found


def same_labels(first: dict, second: dict) -> float:
    """Per cent of the pixels with the same label."""
    return 100 * float(np.mean([np.mean(first[id][1] == second[id][1]) for id in first]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of configs/diff2in1_rooms.py')
    parser.add_argument('--data-root', default='data/rooms')
    parser.add_argument('--out', default='work_dirs/creation_steps')
    parser.add_argument('--T', type=int, default=400)
    parser.add_argument('--solver', default='dpmsolver++')
    parser.add_argument('--steps', type=int, nargs='+', default=[4, 6, 8, 10, 20, 50])
    parser.add_argument('--num-labelled', type=int, default=100, help='sources')
    parser.add_argument(
        '--last-step', action='store_true', help='compare labels of the last denoising pass with fresh ones'
    )
    args = parser.parse_args()
    init_default_scope('mmseg')
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py'))
    cfg.model.backbone.cached_images = 0  # or a second creation finds the features of the first
    model = MODELS.build(cfg.model)
    load_weights(model, read_checkpoint(args.checkpoint), args.checkpoint)
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset):
        dataset.data_root = args.data_root
    sources = DATASETS.build({**cfg.train_dataloader.dataset.dataset, 'num_labelled': args.num_labelled})
    settings = {**cfg.custom_hooks[0].creation.to_dict(), 'T': args.T, 'solver': args.solver}
    print(f'\n{machine("cpu")}\n{args.solver}, T = {args.T}, {len(sources)} samples\n')
    if args.last_step:
        compare_label_sources(model, sources, settings, args)
    else:
        compare_steps(model, sources, settings, args, cfg)


def compare_label_sources(model: torch.nn.Module, sources, settings: dict, args: argparse.Namespace) -> None:
    """A table of label_from='last_step' against 'fresh', a row for each number of steps."""
    rows = ['| steps | labels as fresh, % | fresh as the source, % | last step as the source, % | time ratio |']
    rows.append('|---|---|---|---|---|')
    for steps in sorted(args.steps):
        found, seconds = {}, {}
        for label_from in ('fresh', 'last_step'):
            found[label_from], seconds[label_from], store = timed(
                model, sources, {**settings, 'steps': steps, 'label_from': label_from}, args, f'{steps}_{label_from}'
            )
        fresh, last = found['fresh'], found['last_step']
        if not all(np.array_equal(fresh[id][0], last[id][0]) for id in fresh):
            raise SystemExit('the images of the two creations differ: remove --out, and run this again')
        labels = {id: (None, _label(sources, store, id)) for id in fresh}
        ratio = seconds['last_step'] / seconds['fresh']
        rows.append(
            f'| {steps} | {same_labels(last, fresh):.2f} | {same_labels(fresh, labels):.2f} '
            f'| {same_labels(last, labels):.2f} | {ratio:.2f} |'
        )
    print('\n'.join(rows))


def timed(
    model: torch.nn.Module, sources, settings: dict, args: argparse.Namespace, name: str
) -> tuple[dict, float, SyntheticStore]:
    """The samples of a creation, seconds of a processor for each, and its store."""
    store = osp.join(args.out, f'{args.solver}_T{args.T}_{name}')
    begin = time.process_time()
    report = create(model, sources, store, seed=0, **settings)
    seconds = time.process_time() - begin
    if report.present:
        print(f'{store} was there already: its seconds do not count')
    opened = SyntheticStore(store)
    return samples_of(opened), seconds / len(sources), opened


def compare_steps(model: torch.nn.Module, sources, settings: dict, args: argparse.Namespace, cfg: Config) -> None:
    """A table of the numbers of steps against the most."""
    network = DiffusionFeatures(cfg.model.backbone.diffusion)
    validation = DATASETS.build(cfg.val_dataloader.dataset)
    real = features(
        network, [validation[i]['inputs'].permute(1, 2, 0).numpy()[..., ::-1] for i in range(len(validation))]
    )
    made, seconds = {}, {}
    for steps in sorted(args.steps, reverse=True):
        made[steps], seconds[steps], store = timed(model, sources, {**settings, 'steps': steps}, args, str(steps))
    most = max(made)
    labels = {id: (None, _label(sources, store, id)) for id in made[most]}
    print(
        f'| steps | KID | labels as with {most}, % | labels as the source, % | difference of pixels, 0 to 255 '
        '| seconds of a processor |'
    )
    print('|---|---|---|---|---|---|')
    for steps in sorted(made):
        kid = distances(real, features(network, [image for image, _ in made[steps].values()]))
        difference = np.mean([np.abs(made[steps][id][0].astype(int) - made[most][id][0]).mean() for id in made[most]])
        print(
            f'| {steps} | {kid["kid"]:.4f} ± {kid["kid_std"]:.4f} | {same_labels(made[steps], made[most]):.2f} '
            f'| {same_labels(made[steps], labels):.2f} | {difference:.1f} | {seconds[steps]:.2f} |'
        )


def _label(dataset, store: SyntheticStore, id: str) -> np.ndarray:
    """Label map of the image that a sample was made from."""
    path = dataset.get_data_info(store.find(id).source)['seg_map_path']
    return cv2.imread(path, cv2.IMREAD_UNCHANGED)


if __name__ == '__main__':
    main()
