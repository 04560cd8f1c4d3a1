"""Caption files: one format for training a diffusion model and for its conditions."""

import json

from ...utils.errors import UserError
from .path_table import PathTable

#: What the two columns of JSON Lines may be called: ours, and that of the Hugging Face data sets.
_KEYS = (('image', 'caption'), ('file_name', 'text'))


def caption_table(path: str) -> PathTable:
    """Read captions of images.

    Args:
        path (str): ``.json``, an object of image name to caption; or ``.jsonl``, lines with
            ``image`` and ``caption``, or with ``file_name`` and ``text``.

    Returns:
        PathTable: Captions, with single spaces, by what images are called.

    Raises:
        ValueError: The file is malformed or holds no caption.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:
            if path.endswith('.jsonl'):
                pairs = [_pair(json.loads(line)) for line in file if line.strip()]
            else:
                pairs = list(json.load(file).items())
        captions = PathTable(path, [(name, ' '.join(text.split())) for name, text in pairs])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{path} is no caption file ({error}): a JSON object {{"image name": "caption"}}, or JSON Lines with '
            '"image" and "caption" (or "file_name" and "text"), is needed'
        ) from error
    if not captions:
        raise UserError(f'{path} holds no captions: map at least one image name to one')
    return captions


def _pair(row: dict) -> tuple:
    name, text = next((keys for keys in _KEYS if set(keys) <= set(row)), _KEYS[0])
    return row[name], row[text]
