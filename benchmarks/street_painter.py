"""Label maps of streets as pictures in flat colours, as a crude simulator shows them. For painted_streets.py."""

from pathlib import Path

import cv2
import numpy as np

from diff2in1_mm.datasets.camvid import CamVidDataset

#: RGB that anyone would give the classes who has seen a street in a town of brick.
COLOURS = dict(
    sky=(195, 208, 222),
    building=(118, 108, 98),
    pole=(125, 125, 120),
    road=(98, 98, 102),
    pavement=(135, 126, 124),
    tree=(72, 84, 58),
    sign_symbol=(150, 120, 100),
    fence=(105, 96, 90),
    car=(90, 90, 110),
    pedestrian=(90, 72, 72),
    bicyclist=(80, 75, 85),
)
_VOID = (110, 108, 105)
_SPREAD = 10  # deviation of a thing's colour from its class's


def paint(labels: np.ndarray, seed: int) -> np.ndarray:
    """A picture of a label map: each connected part of a class has one colour.

    Args:
        labels (ndarray): Class indices, uint8 (H, W); others are void.
        seed (int): Of the colours.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).
    """
    rng = np.random.default_rng(seed)
    picture = np.full((*labels.shape, 3), _VOID, np.float32)
    for index, name in enumerate(CamVidDataset.METAINFO['classes']):
        count, parts = cv2.connectedComponents((labels == index).astype(np.uint8))
        colours = np.array(COLOURS[name]) + rng.normal(0, _SPREAD, (count, 3))
        picture = np.where((parts > 0)[..., None], colours[parts], picture)
    return picture.round().clip(0, 255).astype(np.uint8)


def paint_all(data_root: str, out: str, size: tuple[int, int]) -> None:
    """Pictures and label maps of the training folder, in CamVid's layout.

    Args:
        data_root (str): CamVid.
        out (str): Folder to be made.
        size (tuple[int, int]): Width and height.
    """
    images, annotations = Path(out, 'images/train'), Path(out, 'annotations/train')
    for folder in (images, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    for seed, path in enumerate(sorted(Path(data_root, 'annotations/train').glob('*.png'))):
        labels = cv2.resize(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), size, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(annotations / path.name), labels)
        cv2.imwrite(str(images / f'{path.stem}.jpg'), paint(labels, seed)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
