"""Puts a trained pipeline into the package, in the place of the embedded model.

    python -m diff2in1_mm.models.diffusion_training.embed work_dirs/diffusion_rooms/pipeline
"""
import json
import sys
from pathlib import Path

from ...diffusion.embedded import CHECKSUMS, FOLDER, checksum
from ...files import write_atomic
from .pipeline_files import load_pipeline, save_pipeline

# What stands in the folder for people, and is no part of the model.
_FOR_PEOPLE = ('README.md', 'samples.jpg', 'losses.jpg')


def embed(pipeline: str, folder: Path = FOLDER) -> None:
    """Replace the embedded model, its weights in fp16 and with their checksums.

    Args:
        pipeline (str): Folder that ``tools/train_diffusion.py`` wrote.
        folder (Path): Of the embedded model.
    """
    parts = load_pipeline(pipeline)
    kept = {name: (folder / name).read_bytes() for name in _FOR_PEOPLE
            if (folder / name).is_file()}
    save_pipeline(parts, str(folder), 'fp16')
    for name, content in kept.items():
        write_atomic(folder / name, content)
    files = sorted(path for path in folder.rglob('*')
                   if path.is_file() and path.name not in _FOR_PEOPLE)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    write_atomic(folder / CHECKSUMS, (json.dumps(sums, indent=2) + '\n').encode())


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    embed(sys.argv[1])
