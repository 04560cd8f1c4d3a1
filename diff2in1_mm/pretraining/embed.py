"""Puts a trained pipeline into the package, in the place of the embedded model.

    python -m diff2in1_mm.pretraining.embed work_dirs/diffusion_rooms
    # a model of several runs, the last one first: its weights, and the loss curves of all
    python -m diff2in1_mm.pretraining.embed work_dirs/diffusion_rooms_gpu \
        work_dirs/diffusion_rooms_decoder work_dirs/diffusion_rooms
"""

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from ..diffusion.loading.embedded import CHECKSUMS, FOLDER, checksum
from ..utils.atomic_files import write_atomic
from ..utils.atomic_folders import replace_folder
from ..utils.errors import MissingFileError
from .pipeline_files import load_pipeline, write_pipeline

# What stands in the folder for people, and is no part of the model.
_FOR_PEOPLE = ('README.md', 'samples.jpg', 'losses.jpg')


def embed(pipeline: str, folder: Path = FOLDER, drawn_by: Sequence[str] = ()) -> None:
    """Replace the embedded model, its weights in fp16, with checksums, card and pictures.

    All of it is written beside the old one, which then gives its place at once: what is stopped on
    the way leaves a whole model, at worst set aside by :func:`replace_folder` until the next run.

    Args:
        pipeline (str): Folder that ``tools/train_diffusion.py`` wrote.
        folder (Path): Of the embedded model.
        drawn_by (Sequence[str]): Work dirs whose pictures go with it, the last run first; none
            keep the pictures that are there.
    """
    parts = load_pipeline(pipeline)

    def write(path: str) -> None:
        fresh = Path(path)
        write_pipeline(parts, path, 'fp16')
        for name in _FOR_PEOPLE:
            if (folder / name).is_file():
                shutil.copy(folder / name, fresh / name)
        if drawn_by:
            illustrate(drawn_by, fresh)
        _sign(fresh)

    replace_folder(str(folder), write)


def _sign(folder: Path) -> None:
    """Make the model's files fit to be given away, and write their checksums."""
    files = sorted(path for path in folder.rglob('*') if path.is_file() and path.name not in _FOR_PEOPLE)
    for path in files:
        path.chmod(0o644)  # safetensors writes for its owner alone
        if path.suffix == '.json':
            _forget_place(path)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    write_atomic(folder / CHECKSUMS, (json.dumps(sums, indent=2) + '\n').encode())


def _forget_place(path: Path) -> None:
    """Leave out of a config where on this machine it was loaded from."""
    config = json.loads(path.read_text(encoding='utf-8'))
    if config.pop('_name_or_path', None) is not None:
        write_atomic(path, (json.dumps(config, indent=2) + '\n').encode())


def last_grid(work_dirs: Sequence[str]) -> Path:
    """The last picture that the training of a denoiser drew, in the first work dir with one.

    Raises:
        FileNotFoundError: There is none.
    """
    for work_dir in work_dirs:
        found = (Path(work_dir) / 'denoiser' / 'samples').glob('iter_*.png')
        grids = sorted(found, key=lambda path: int(path.stem.rpartition('_')[2]))
        if grids:
            return grids[-1]
    raise MissingFileError(
        f'no sample grids in {", ".join(work_dirs)}: name the work dir in which the denoiser was trained as well'
    )


def illustrate(work_dirs: Sequence[str], folder: Path) -> None:
    """Put the pictures of the model card beside the model: last sample grid and loss curves.

    Args:
        work_dirs (Sequence[str]): Of ``tools/train_diffusion.py``, the last run first.
        folder (Path): Of the model.
    """
    last: Any = cv2.imread(str(last_grid(work_dirs)))
    _, buffer = cv2.imencode('.jpg', last, [cv2.IMWRITE_JPEG_QUALITY, 92])
    write_atomic(folder / 'samples.jpg', buffer.tobytes())
    _plot_losses(work_dirs, folder / 'losses.jpg')


def _plot_losses(work_dirs: Sequence[str], path: Path) -> None:
    """A panel for each stage of each run that logged its loss, in the order of training."""
    import matplotlib

    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    # the mean absolute error means the same whatever the other terms weigh
    stages = (
        ('autoencoder', 'loss_value', 'mean absolute error\n(of pixels from -1 to 1)'),
        ('denoiser', 'loss_denoising', 'mean squared error\n(of noise or v, deviation 1)'),
    )
    panels = [
        (Path(work_dir), stage, words, _scalars(Path(work_dir) / stage, name))
        for work_dir in reversed(work_dirs)
        for stage, name, words in stages
    ]
    panels = [panel for panel in panels if panel[-1]] or panels
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3), squeeze=False)
    for axis, (work_dir, stage, words, curve) in zip(axes[0], panels):
        axis.plot(list(curve), list(curve.values()))
        axis.set(title=f'{stage} ({work_dir.name})', xlabel='iterations', ylabel=words, ylim=(0, None))
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=100)
    plt.close(figure)
    write_atomic(path, picture.getvalue())


def _scalars(folder: Path, name: str) -> dict[int, float]:
    """Iteration -> value, from the logs of all runs of a stage, the last one counting."""
    found: dict[int, float] = {}
    logs: list[Path] = sorted(folder.glob('*/vis_data/scalars.json'))
    for log in logs:
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if name in entry:
                found[entry['iter']] = entry[name]
    return dict(sorted(found.items()))


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        last_grid(sys.argv[1:])  # before anything is replaced
    except FileNotFoundError as error:
        sys.exit(str(error))
    embed(str(Path(sys.argv[1]) / 'pipeline'), drawn_by=sys.argv[1:])
    print(f'The model is in {FOLDER}; its card, README.md, still tells of the one before.')
