"""Pictures of what a generative model can do so far."""
import os
import os.path as osp
from typing import Dict

import cv2
import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from torch import Tensor

from .averaged_model import averaged_model

_LABEL_HEIGHT = 16


@HOOKS.register_module()
class SampleGridHook(Hook):
    """Writes ``WORK_DIR/samples/iter_N.png``: one row of pictures per kind.

    The model gives the rows by ``sample_rows(images, seed) -> {name: (N, 3, H, W) in [-1, 1]}``.
    The averaged weights are used where there is an ``EMAHook``.

    Args:
        dataset (dict): An ``ImageFolder`` whose images are shown; the training tool fills it in.
        count (int): Number of images, taken evenly from the data set. Default 6.
        interval (int): Iterations between grids; the last iteration always has one. Default 500.
        seed (int): Of the noise, the same for every grid. Default 0.
    """

    priority = 'LOW'

    def __init__(self, dataset: dict, count: int = 6, interval: int = 500, seed: int = 0) -> None:
        self.dataset = dataset
        self.count = count
        self.interval = interval
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Read the images that every grid shows."""
        dataset = DATASETS.build(self.dataset)
        places = torch.linspace(0, len(dataset) - 1, min(self.count, len(dataset))).long()
        images = [dataset.whole(place) for place in places.tolist()]
        self._images = torch.stack([image for image in images if image is not None])

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """Write a grid every ``interval`` iterations and at the end."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            self.write(runner)

    @master_only
    def write(self, runner: Runner) -> None:
        """Write the grid of the present weights and log where it is."""
        model = averaged_model(runner)
        device = next(model.parameters()).device
        training = model.training
        model.eval()
        rows = model.sample_rows(self._images.to(device), self.seed)
        model.train(training)
        path = osp.join(runner.work_dir, 'samples', f'iter_{runner.iter + 1}.png')
        write_png(path, picture_grid(rows))
        runner.logger.info(f'Samples written to {path}')


def picture_grid(rows: Dict[str, Tensor]) -> np.ndarray:
    """Rows of pictures, each under a line with its name.

    Args:
        rows (dict[str, Tensor]): Pictures in [-1, 1], shape (N, 3, H, W), by name.

    Returns:
        np.ndarray: uint8 RGB, shape (rows * (H + 16), N * W, 3).
    """
    parts = []
    for name, pictures in rows.items():
        pixels = pictures.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().byte()
        row = np.concatenate([picture.permute(1, 2, 0).numpy() for picture in pixels], axis=1)
        label = np.full((_LABEL_HEIGHT, row.shape[1], 3), 255, np.uint8)
        cv2.putText(label, name, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        parts += [label, row]
    return np.concatenate(parts)


def write_png(path: str, picture: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3) uint8; a reader never sees half of it."""
    os.makedirs(osp.dirname(path), exist_ok=True)
    ok, data = cv2.imencode('.png', picture[..., ::-1])
    if not ok:
        raise OSError(f'cannot encode {path} as PNG')
    with open(path + '.tmp', 'wb') as file:
        file.write(data.tobytes())
    os.replace(path + '.tmp', path)
