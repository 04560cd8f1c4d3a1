"""WebDataset: tar files of samples, each ``ID.png``, ``ID.json``, of maps ``ID.label.png``, else ``ID.TASK.*``."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from .hf_datasets import described
from .samples import Sample

__all__ = ['write']

_PER_FILE = 1000


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes ``samples-000000.tar`` and so on, a thousand samples each; maps hold class indices (255: ignored)."""
    folder.mkdir(parents=True, exist_ok=True)
    file = None
    try:
        for number, sample in enumerate(samples):
            if number % _PER_FILE == 0:
                if file is not None:
                    file.close()
                file = tarfile.open(folder / f'samples-{number // _PER_FILE:06d}.tar', 'w')
            assert file is not None
            _add(file, f'{sample.id}.png', sample.image.read_bytes())
            _add(file, f'{sample.id}.json', json.dumps(dict(described(sample), size=sample.size)).encode())
            if sample.kind != 'instances':
                _add(file, f'{sample.id}.label.png', encode_png(sample.map()))
            for task, path in sample.others.items():
                _add(file, f'{sample.id}.{task}{path.suffix}', path.read_bytes())
    finally:
        if file is not None:
            file.close()
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def _add(file: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    file.addfile(entry, io.BytesIO(content))
