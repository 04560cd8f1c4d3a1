"""Memory that nothing holds any more, given back to device and system."""

import ctypes
import gc
import sys

import torch


def release_memory() -> None:
    """Free what only circles of references hold, and give back what the allocators keep for later.

    glibc keeps freed blocks below one that is in use: hundreds of megabytes after a model of some size was deleted.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == 'linux':
        trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # other C libraries have none
        if trim is not None:
            trim(0)
