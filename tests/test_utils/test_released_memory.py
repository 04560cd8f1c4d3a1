import os
import sys

import pytest
import torch

from diff2in1_mm.utils.released_memory import release_memory


@pytest.mark.skipif(sys.platform != 'linux', reason='reads the memory of the process from Linux')
def test_freed_blocks_below_one_in_use_go_back_to_the_system():
    if not hasattr(os, 'confstr') or 'glibc' not in (os.confstr('CS_GNU_LIBC_VERSION') or ''):
        pytest.skip('allocators of other C libraries than glibc give memory back by themselves')

    def resident():
        with open('/proc/self/statm', encoding='utf-8') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20

    blocks = [torch.ones(8192) for _ in range(6400)]  # of 32 kB, too small for pages of their own
    last = torch.ones(8192)
    filled = resident()
    del blocks
    release_memory()
    assert resident() < filled - 150 and last.sum() == 8192
