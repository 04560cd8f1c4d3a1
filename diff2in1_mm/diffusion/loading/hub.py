"""Files of a hub of models."""

from ...utils.errors import UserError

__all__ = ['hub_file']


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
        return hf_hub_download(source, name, revision=revision, local_files_only=not download)
    except GatedRepoError as error:
        raise UserError(
            f'{source} is a gated model: accept the licence on its page of the hub, log in on this machine '
            '(`hf auth login`), and start again'
        ) from error
