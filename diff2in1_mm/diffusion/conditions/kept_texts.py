"""What text encoders made of texts, kept on disk by what is in the files of the encoders."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...utils.atomic_files import write_atomic
from ...utils.errors import UnusableFileError
from ...utils.json_files import read_json
from ...utils.kept_on_disk import KeptOnDisk, Tensors, cache_folder
from ..condition import Condition

#: Bytes of each encoder's embeddings: those of 8,000 prompts of Stable Diffusion, of 500 of FLUX.1.
_MOST = 2e9
_VERSION = 1  # of what is kept


class KeptTexts:
    """Embeddings of texts on disk, in ``texts`` of :func:`cache_folder`; other encoders have other folders.

    Args:
        files (Callable): Takes nothing and gives the files of text encoders and tokenizers; none: nothing is kept.
        kind (str): How texts are encoded, where the same files can be used in several ways.
    """

    def __init__(self, files: Callable[[], Sequence[Path]], kind: str) -> None:
        self._files, self._kind = files, kind
        self._kept: dict[Path, KeptOnDisk | None] = {}

    def get(self, texts: Sequence[str], make: Callable[[list[str]], Iterable[Tensors]]) -> list[Tensors]:
        """Tensors of each text; ``make`` gives those of the texts that are not kept, in order.

        Args:
            texts (Sequence[str]): Distinct ones.
            make (Callable): Called only where some are missing.
        """
        kept = self._of_encoder()
        if kept is None:
            return list(make(list(texts)))
        keys = {hashlib.blake2b(text.encode(), digest_size=16).hexdigest(): text for text in texts}
        return kept.get(list(keys), lambda missing: make([keys[key] for key in missing]))

    def _of_encoder(self) -> KeptOnDisk | None:
        root = cache_folder()
        if root is None:
            return None
        if root not in self._kept:
            digest = _digest_of(self._files(), root / 'texts')
            name = digest and hashlib.sha256(f'{_VERSION} {self._kind} {digest}'.encode()).hexdigest()[:16]
            self._kept[root] = KeptOnDisk(root / 'texts' / name, _MOST, 'text embeddings') if name else None
        return self._kept[root]


def _is_notes(content: Any) -> bool:
    """Whether size, time of change and checksum stand for each file."""
    return all([type(value) for value in note] == [int, int, str] for note in content.values())


def _digest_of(files: Sequence[Path], folder: Path) -> str:
    """A hash of the contents of files; '' for none.

    Reading an encoder takes longer than asking for its embeddings, so what was read is noted with size and time of
    change of the file, in ``files.json`` of the folder, and read again when these are others.
    """
    notes = folder / 'files.json'
    try:
        known = read_json(notes, _is_notes, 'it is made anew')
    except OSError:
        known = {}
    sums, new = [], False
    for path in sorted(files, key=lambda path: (path.parent.name, path.name)):
        path = path.resolve()  # of a hub's cache: to the file that is named by its content
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
        if known.get(str(path), [])[:2] != state:
            known[str(path)], new = [*state, _checksum(path)], True
        sums.append(known[str(path)][2])
    if new:
        try:
            write_atomic(notes, json.dumps(known).encode())
        except UnusableFileError:
            return ''  # nor could embeddings be written
    return ' '.join(sums)


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def to_tensors(condition: Condition) -> dict[str, Tensor]:
    """A condition without a mask, as named tensors."""
    fields = dict(sequence=condition.sequence, pooled=condition.pooled)
    fields.update({f'extras.{name}': tensor for name, tensor in condition.extras.items()})
    return {name: tensor for name, tensor in fields.items() if tensor is not None}


def from_tensors(tensors: Tensors) -> Condition:
    """Inverse of :func:`to_tensors`."""
    extras = {name.removeprefix('extras.'): tensor for name, tensor in tensors.items() if name.startswith('extras.')}
    return Condition(tensors['sequence'], tensors.get('pooled'), extras=extras)
