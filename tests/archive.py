"""A place for files that only ``backend_args`` know, as a bucket or a cluster's store is."""

import os.path as osp

from mmengine.fileio import LocalBackend, register_backend


class Archive(LocalBackend):
    """'set/a.png' is the file 'set/a.png' below a folder that no path names."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, filepath):
        return super().get(osp.join(self.folder, filepath))

    def get_text(self, filepath, encoding='utf-8'):
        return super().get_text(osp.join(self.folder, filepath), encoding)

    def exists(self, filepath):
        return super().exists(osp.join(self.folder, filepath))

    def list_dir_or_file(self, dir_path, *options):
        return super().list_dir_or_file(osp.join(self.folder, dir_path), *options)


register_backend('archive', Archive, force=True)


def archived(folder):
    """``backend_args`` for files below a folder."""
    return dict(backend='archive', folder=str(folder))


def from_archive(dataset, folder):
    """The config of a data set whose files, by relative paths, lie in the archive."""
    backend_args = archived(folder)
    pipeline = [
        dict(step, backend_args=backend_args) if 'Load' in step['type'] else step for step in dataset['pipeline']
    ]
    return dict(dataset, backend_args=backend_args, pipeline=pipeline)
