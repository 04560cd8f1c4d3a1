"""What a file must not do to those who read it."""

import os


class Code:
    """Makes a folder ``was_run`` where it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (f'{self.folder}/was_run',)
