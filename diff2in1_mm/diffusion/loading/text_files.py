"""Which files make embeddings of texts."""

from pathlib import Path

from .original_layout import is_single_file

_KINDS = ('.safetensors', '.json', '.txt', '.model')
_PARTS = ('text_encoder', 'tokenizer')


def text_files(source: str, revision: str | None = None) -> list[Path]:
    """Files of text encoders and tokenizers, with their weights, vocabularies and configurations.

    Args:
        source (str): Folder or hub id in the diffusers layout, or a file in the original layout.
        revision (str | None): Commit, branch or tag of a hub id. Default None.

    Returns:
        list[Path]: Those on this machine; empty where they are not known.
    """
    if is_single_file(source):
        return [Path(source)]
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(source, revision=revision, local_files_only=True))
        except (OSError, ValueError):  # no hub id, or never downloaded
            return []
    parts = [part for part in folder.iterdir() if part.is_dir() and part.name.startswith(_PARTS)]
    return [path for part in parts for path in part.iterdir() if path.suffix in _KINDS and path.is_file()]
