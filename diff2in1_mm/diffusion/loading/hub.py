"""Files of a hub of models."""

import functools
import os.path as osp

from ...utils.errors import UserError, first_line

__all__ = ['hub_file', 'reason', 'unreachable']


def hub_file(source: str, name: str, revision: str | None = None, download: bool = True) -> str:
    """Path of one file of a hub id on this machine, fetched if it is not there.

    Args:
        source (str): Hub id.
        name (str): Of the file.
        revision (str | None): Commit, branch or tag. Default None.
        download (bool): Ask the hub; False looks at what is on this machine only. Default True.

    Raises:
        ValueError: The hub gives it to those alone who have accepted a licence.
        OSError: There is none, or no network.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import GatedRepoError

    try:
        return hf_hub_download(source, name, revision=revision, local_files_only=not download or bool(unreachable()))
    except GatedRepoError as error:
        raise UserError(
            f'{source} is a gated model: accept the licence on its page of the hub, log in on this machine '
            '(`hf auth login`), and start again'
        ) from error


@functools.cache
def unreachable() -> str:
    """Why the hub cannot be reached, empty where it can; asked once, as its library tries five times for each file,
    half a minute long.

    Where it cannot, diffusers and transformers do not ask either for the rest of the process.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return 'HF_HUB_OFFLINE is set'
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of httpx or of requests, by its version; it is told with the file that is missing
        constants.HF_HUB_OFFLINE = True
        return f'the hub cannot be reached: {first_line(error)}'
    return ''


def reason(source: str, error: Exception) -> str:
    """Why a file of a folder or hub id could not be read, for a sentence."""
    return first_line(error) if osp.isdir(source) else unreachable() or first_line(error)
