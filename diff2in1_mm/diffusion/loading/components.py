"""The parts of a diffusers folder or hub id, by the classes that its ``model_index.json`` names."""

import json
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...utils.compat import dtype_option
from ...utils.errors import UserError
from ..precision import DTYPES, check_dtype, warn_if_slow
from .embedded import FOLDER, is_embedded
from .folder import load_whole
from .hub import hub_file, reason
from .refusals import refuse_unnamed_variant

# Of which libraries parts are; any other name would be code from the folder.
_LIBRARIES = ('diffusers', 'transformers')
_NO_LIMIT = 10**6  # transformers has a number of thirty digits for tokenizers that do not say it


def model_index(source: str, revision: str | None = None, download: bool = True) -> dict[str, Any]:
    """What ``model_index.json`` says.

    Args:
        source (str): Folder, hub id or file that a user wrote.
        revision (str | None): Commit, branch or tag of a hub id. Default None.
        download (bool): Ask the hub; False looks at what is on this machine only. Default True.

    Returns:
        dict: Empty where there is none, which the family itself is asked about then.

    Raises:
        ValueError: It names a model of the package, which has none of that name, or the hub asks for a licence.
    """
    embedded = is_embedded(source)
    try:
        if embedded:
            path = FOLDER / 'model_index.json'
        elif osp.exists(source) or source.count('/') != 1 or source.startswith(('.', '/', '~')):
            path = Path(source, 'model_index.json')
        else:
            path = Path(hub_file(source, 'model_index.json', revision, download))
        index = json.loads(path.read_text(encoding='utf-8'))
    except UserError:
        raise
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def named_class(index: Mapping[str, Any], part: str) -> tuple[str | None, str | None]:
    """Library and class of a part, as a ``model_index.json`` names them; None for each where it does not."""
    entry = index.get(part)
    return tuple(entry[:2]) if isinstance(entry, list) and len(entry) > 1 else (None, None)


def check_folder(source: str, parts: Sequence[str], variant: str | None = None, kind: str = 'the model') -> None:
    """Name what a local folder lacks before anything is loaded; of hub ids nothing is known.

    Args:
        source (str): Folder or hub id.
        parts (Sequence[str]): Subfolders that are needed.
        variant (str | None): File variant that was asked for. Default None.
        kind (str): What the folder should be of, for the message.

    Raises:
        ValueError: A part or its weights are missing, or of a variant that was not asked for.
    """
    if not osp.isdir(source):
        return
    for part in parts:
        path = osp.join(source, part)
        if part == 'scheduler':
            if not osp.isfile(osp.join(path, 'scheduler_config.json')):
                raise UserError(
                    f'{source} has no scheduler/scheduler_config.json, which says the noise schedule: '
                    'complete the folder'
                )
            continue
        if not osp.isfile(osp.join(path, 'config.json')):
            listed = ', '.join(f'{name}/' for name in parts if name != 'scheduler')
            raise UserError(
                f'{source} has no {part}/config.json: give the folder that holds model_index.json, {listed} of {kind}'
            )
        files = os.listdir(path)
        weights = [name for name in files if name.endswith('.safetensors')]
        if weights:
            refuse_unnamed_variant(path, weights, variant)
            continue
        quantised = next((name for name in files if name.endswith('.gguf')), None)
        if quantised:
            raise UserError(
                f'{path} holds quantised weights ({quantised}), which are not supported: download the safetensors '
                'version of the model in full or half precision'
            )
        pickles = [name for name in files if name.endswith(('.bin', '.pt', '.pth', '.ckpt'))]
        found = f'only the pickle {pickles[0]}' if pickles else 'no weights'
        raise UserError(
            f'{path} holds {found} where .safetensors is expected: download the '
            'safetensors version of the model (pickles are not loaded, since they can '
            'run code)'
        )


class Components:
    """Loads the parts of a model, each whole, frozen and in eval mode.

    Args:
        source (str): Folder or hub id in the diffusers layout.
        dtype (torch.dtype): Of the parts, unless :meth:`module` is told another.
        variant (str | None): File variant, for example 'fp16'. Default None.
        revision (str | None): Commit, branch or tag of a hub id. Default None.

    Raises:
        ValueError: A revision of a local folder.
    """

    def __init__(
        self, source: str, dtype: torch.dtype, variant: str | None = None, revision: str | None = None
    ) -> None:
        if revision is not None and osp.isdir(source):
            raise UserError(
                f'revision = {revision!r} is a commit, branch or tag of a hub id, but '
                f'{source} is on this machine: leave it out'
            )
        self.source, self.dtype, self.variant, self.revision = source, dtype, variant, revision
        self.index = model_index(source, revision)

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a model or scheduler of diffusers.

        Args:
            part (str): Subfolder.

        Raises:
            ValueError: There is none.
        """
        try:
            return dict(self._class(part).load_config(self.source, subfolder=part, revision=self.revision))
        except OSError as error:
            raise self._missing(part, error) from error

    def module(self, part: str, dtype: torch.dtype | None = None) -> nn.Module:
        """A part with weights.

        Args:
            part (str): Subfolder.
            dtype (torch.dtype | None): Default None: that of the model.

        Raises:
            ValueError: It is missing, incomplete, quantised, or of a class that is not known.
        """
        kind = self._class(part)
        options = dict(use_safetensors=True, revision=self.revision, **dtype_option(kind, dtype or self.dtype))
        try:
            try:
                module = load_whole(kind, self.source, part, variant=self.variant, **options)
            except OSError:
                if self.variant is None:
                    raise
                module = load_whole(kind, self.source, part, **options)  # some parts are there in full only
        except OSError as error:
            raise self._missing(part, error) from error
        return module.eval().requires_grad_(False)

    def tokenizer(self, part: str, chats: bool = False) -> Any:
        """A tokenizer, with its vocabulary; of a processor of pictures and texts the tokenizer alone.

        Args:
            part (str): Subfolder.
            chats (bool): Whether texts are told as messages, for which it needs a template. Default False.

        Raises:
            ValueError: It is missing or damaged, knows no words, or lacks the template.
        """
        import transformers

        kind = self._class(part)
        if kind.__name__.endswith('Processor'):  # whose other half needs torchvision, for pictures that nobody tells
            kind = transformers.AutoTokenizer
        try:
            tokenizer = kind.from_pretrained(self.source, subfolder=part, revision=self.revision)
        except Exception as error:  # tokenizers has no class of its own for files that it cannot read
            raise self._missing(part, error) from error
        fault = _fault_of(tokenizer, kind.__name__, chats)
        if fault:
            raise UserError(f'the {part} of {self.source} {fault}: download it again')
        return tokenizer

    def has(self, part: str) -> bool:
        """Whether the model has such a part; some are left out on purpose, as SD 3's third text encoder."""
        return named_class(self.index, part)[0] is not None

    def _class(self, part: str) -> Any:
        library, name = named_class(self.index, part)
        if name is None:
            raise UserError(f'model_index.json of {self.source} names no {part}: complete the folder')
        if osp.isdir(self.source) and not osp.isdir(osp.join(self.source, part)):
            raise self._missing(part, FileNotFoundError('there is no such folder'))
        found = getattr(import_module(library), str(name), None) if library in _LIBRARIES else None
        if found is None:
            raise UserError(
                f'model_index.json of {self.source} names {library}.{name} as its {part}, which is no class of '
                'diffusers or transformers here: complete the folder, or install a newer version of them'
            )
        return found

    def _missing(self, part: str, error: Exception) -> UserError:
        which = self.source if self.revision is None else f'{self.source} --revision {self.revision}'
        mend = (
            'complete the folder, as it was published'
            if osp.isdir(self.source)
            else f'download the model once where there is a network (`hf download {which}`; of a gated one accept the '
            'licence on its page and log in first, `hf auth login`)'
        )
        return UserError(f'the {part} of {self.source!r} could not be loaded ({reason(self.source, error)}): {mend}')


def _fault_of(tokenizer: Any, kind: str, chats: bool) -> str | None:
    """What a tokenizer of some class lacks, of which transformers says nothing."""
    # Without its files one of special tokens alone is made, T5's with a sign for a space: all texts look the same.
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    if not any(word.strip('\u2581') for word in words):
        return 'has no vocabulary'
    if kind.startswith('CLIP') and tokenizer.model_max_length > _NO_LIMIT:
        return 'does not say how many tokens a text may have (model_max_length in tokenizer_config.json)'
    if chats and not tokenizer.chat_template:
        return 'has no template of chats (chat_template.jinja, or in tokenizer_config.json)'
    return None


class FromFolder:
    """Loading of families that are made of :class:`Components`.

    Attributes:
        needed (tuple[str]): Subfolders that a model of the family cannot do without.
    """

    needed: tuple[str, ...] = ('transformer', 'vae', 'scheduler')

    @classmethod
    def from_pretrained(
        cls: Any, source: str, dtype: str = 'fp32', variant: str | None = None, revision: str | None = None
    ) -> Any:
        """Load a diffusers folder or a hub id.

        Args:
            source (str): Folder with ``model_index.json``, or hub id.
            dtype (str): 'fp32', 'fp16' or 'bf16', of the frozen parts. Default 'fp32'.
            variant (str | None): File variant of the folder, for example 'fp16'.
            revision (str | None): Commit, branch or tag of a hub id. None: its main branch.

        Returns:
            DiffusionModel: On the CPU.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """
        check_dtype(dtype, cls.dtypes, source)
        warn_if_slow(dtype)
        cls.check_source(source, variant)
        return cls(Components(source, DTYPES[dtype], variant, revision))

    @classmethod
    def check_source(cls, source: str, variant: str | None = None) -> None:
        """See :func:`check_folder`."""
        check_folder(source, cls.needed, variant)
