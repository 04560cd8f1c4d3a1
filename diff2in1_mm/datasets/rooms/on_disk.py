"""What the two data sets of Rooms share: their options, and the rendering on first use."""

import os.path as osp

from mmengine.dataset import BaseDataset

from ...utils.errors import UserError
from ...utils.json_files import read_json
from ..subset import draw_subset
from .make import SPLITS, make_rooms

#: Colours of the classes, RGB.
PALETTE = (
    (204, 196, 178),
    (140, 100, 70),
    (236, 236, 236),
    (122, 190, 240),
    (224, 142, 54),
    (200, 60, 90),
    (130, 60, 170),
    (64, 110, 90),
    (250, 214, 60),
    (60, 170, 60),
    (226, 60, 40),
    (50, 90, 200),
)


class RoomsOnDisk(BaseDataset):
    """Mixed into a library's data set, which reads what is rendered here.

    Args:
        split: 'train' (200 rooms), 'val' (200), or a name of your own with ``count``.
        num_labelled: Number of rooms drawn from the split; None: all.
        seed: Decides which ones (see :func:`draw_subset`), and nothing else.
        world: Seed of the world.
        size: Height and width of the pictures, pixels.
        count: Rooms in the split; None: as many as it usually has.
        data_root: Folder of the world; rendered there on first use.
        hour: 'day' or 'night', of all its pictures (:func:`at_night`); by night give another ``data_root``.
        shading: 'full' or 'flat' (:func:`without_shading`); in flat colours give another ``data_root``.
        **kwargs: As in the library's data set.

    Raises:
        ValueError: ``data_root`` holds another world, or fewer rooms than ``num_labelled``.
        OSError: No space to render, or a file of the world is damaged.
    """

    def __init__(
        self,
        split: str = 'train',
        num_labelled: int | None = None,
        seed: int = 0,
        world: int = 0,
        size: tuple[int, int] = (128, 128),
        count: int | None = None,
        data_root: str = 'data/rooms',
        hour: str = 'day',
        shading: str = 'full',
        **kwargs,
    ) -> None:
        self.split, self.num_labelled, self.seed = split, num_labelled, seed
        look = dict(hour=hour, shading=shading)
        self.prepare(dict(split=split, world=world, size=size, count=count, data_root=data_root, **look))
        super().__init__(data_root=data_root, **{**self.places(split), **kwargs})

    @staticmethod
    def prepare(cfg: dict) -> None:
        """Render the split that a data set's config asks for, unless it is there."""
        split, count = cfg.get('split', 'train'), cfg.get('count')
        if count is None and split not in SPLITS:
            raise UserError(
                f'Rooms has the splits {", ".join(SPLITS)}; for {split!r} give `count`, the number of rooms to render.'
            )
        make_rooms(
            cfg.get('data_root', 'data/rooms'),
            [split],
            cfg.get('world', 0),
            tuple(cfg.get('size', (128, 128))),
            {split: count} if count else None,
            hour=cfg.get('hour', 'day'),
            shading=cfg.get('shading', 'full'),
        )

    @staticmethod
    def places(split: str) -> dict:
        """The options of the library's data set that say where its files are."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """All rooms of the split with their ``caption``, or the part that is drawn."""
        data = sorted(super().load_data_list(), key=lambda info: info['img_path'])
        names = {osp.basename(info['img_path']) for info in data}
        captions = read_json(
            osp.join(self.data_root, f'captions_{self.split}.json'),
            lambda content: names <= {*content} and all(isinstance(content[name], str) for name in names),
            f'delete {self.data_root}, and its rooms are rendered again',
        )
        for info in data:
            info['caption'] = captions[osp.basename(info['img_path'])]
        return draw_subset(data, self.num_labelled, self.seed)
