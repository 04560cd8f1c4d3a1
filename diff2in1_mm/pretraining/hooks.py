"""Pictures of what a generative model can do so far."""

import os.path as osp

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..utils.errors import MissingFileError
from ..utils.image_values import to_bytes
from ..utils.models import averaged_model
from ..utils.pictures import contact_sheet, write_picture
from ..utils.values import spread_over


class _WritingHook(Hook):
    """Writes something every ``interval`` iterations and at the end, after EMAHook has averaged."""

    priority = 'LOW'
    interval: int

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write where it is time."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            self.write(runner)

    def write(self, runner: Runner) -> None:
        """Write the present state."""
        raise NotImplementedError


@HOOKS.register_module()
class SampleGridHook(_WritingHook):
    """Writes ``WORK_DIR/samples/iter_N.png``: one row of pictures per kind.

    The model gives the rows by ``sample_rows(images, seed) -> {name: (N, 3, H, W) in [-1, 1]}``, where ``images`` and
    what else there may be are what ``shown`` of the data set gives. The averaged weights are used where there is an
    ``EMAHook``.

    Args:
        dataset (dict): An ``ImageFolder``, or one with more, whose images are shown; the training tool fills it in.
        count (int): Number of images, taken evenly from the data set. Default 6.
        interval (int): Iterations between grids; the last iteration always has one. Default 500.
        seed (int): Of the noise, the same for every grid. Default 0.
    """

    def __init__(self, dataset: dict, count: int = 6, interval: int = 500, seed: int = 0) -> None:
        self.dataset = dataset
        self.count = count
        self.interval = interval
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Read the images that every grid shows."""
        dataset = DATASETS.build(self.dataset)
        found = [dataset.shown(place) for place in spread_over(len(dataset), self.count)]
        readable = [one for one in found if one is not None]
        if not readable:
            raise MissingFileError(f'none of the images that sample grids show can be read, such as {dataset.files[0]}')
        self._shown = {name: torch.stack([one[name] for one in readable]) for name in readable[0]}

    @master_only
    def write(self, runner: Runner) -> None:
        """Write the grid of the present weights and log where it is."""
        model = averaged_model(runner)
        device = next(model.parameters()).device
        training = model.training
        model.eval()
        rows = model.sample_rows(seed=self.seed, **{name: shown.to(device) for name, shown in self._shown.items()})
        model.train(training)
        path = osp.join(runner.work_dir, 'samples', f'iter_{runner.iter + 1}.png')
        pixels = [list(to_pixels(pictures)) for pictures in rows.values()]
        write_picture(path, contact_sheet(pixels, list(rows), height=len(pixels[0][0])))
        runner.logger.info(f'Samples written to {path}')


def to_pixels(pictures: Tensor) -> np.ndarray:
    """Pictures (N, 3, H, W) in [-1, 1] as uint8 RGB (N, H, W, 3)."""
    return np.ascontiguousarray(to_bytes(pictures.detach().float().cpu()).permute(0, 2, 3, 1).numpy())


@HOOKS.register_module()
class SavePipelineHook(_WritingHook):
    """Saves what is trained, by ``model.save_result(out_dir, dtype)``, every so often and at the end.

    The averaged weights are saved where there is an ``EMAHook``. The folder is replaced as a whole:
    who loads it meanwhile gets one state or another, never a mix.

    Args:
        out_dir (str): The folder to write; the training tool fills it in.
        interval (int): Iterations between saves. Default 500.
        dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
    """

    def __init__(self, out_dir: str, interval: int = 500, dtype: str = 'fp32') -> None:
        self.out_dir = out_dir
        self.interval = interval
        self.dtype = dtype

    @master_only
    def write(self, runner: Runner) -> None:
        """Save the present weights and log where they are."""
        averaged_model(runner).save_result(self.out_dir, self.dtype)
        runner.logger.info(f'Saved to {self.out_dir}')
