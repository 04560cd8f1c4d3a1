"""New rooms of the renderer in place of generated ones: what perfect generation would give."""

from functools import lru_cache
from pathlib import Path

import torch
from mmengine.registry import MODELS, TRANSFORMS

from diff2in1_mm.creation.generator import Generated, PartialNoiseGenerator
from diff2in1_mm.datasets.rooms.render import Room, render_room
from diff2in1_mm.store.store import SyntheticStore


@MODELS.register_module()
class FreshRooms(PartialNoiseGenerator):
    """Perfect pictures: rooms that nobody has seen, of the size of the source images."""

    def generate(self, diffusion, images, condition, seeds, T, taps=()) -> Generated:
        rooms = [torch.from_numpy(_room(seed, tuple(images.shape[-2:])).image) for seed in seeds]
        fresh = torch.stack(rooms).permute(0, 3, 1, 2).to(images) / 127.5 - 1
        return Generated(fresh, {})


@TRANSFORMS.register_module()
class TrueLabels:
    """Perfect labels: those of the renderer, in place of theta_C's on :class:`FreshRooms`."""

    def __call__(self, results: dict) -> dict:
        if results.get('synthetic'):
            path = Path(results['img_path'])
            root = next(folder for folder in path.parents if (folder / 'store.json').is_file())
            seed = _seeds(root)[path.name]
            room = _room(seed, results['img_shape'][:2])
            for field, labels in dict(
                gt_seg_map=room.classes, gt_depth_map=room.depth, gt_normal_map=room.normals
            ).items():
                if field in results:
                    results[field] = labels.copy()
        return results


@lru_cache(maxsize=400)
def _room(seed: int, size: tuple) -> Room:
    return render_room(seed % 2**32, size)


@lru_cache(maxsize=1)
def _seeds(root: Path) -> dict[str, int]:
    """File name -> seed of the samples of a store."""
    store = SyntheticStore(root)
    return {Path(store.image_path(record)).name: record.seed for record in store.records()}
