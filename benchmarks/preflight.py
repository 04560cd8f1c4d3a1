"""How long the checks of a data set take, the first time and again.

    python benchmarks/preflight.py --images 10000

Made up are photographs (JPEG), label maps (PNG), a COCO file of as many images, and a VOC file for each. Looked at is
what a run looks at before its first iteration; 'warm' is a second start beside the same work dir.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from tqdm import trange

import diff2in1_mm  # noqa: F401  (registers all modules)
from diff2in1_mm.preflight.coco_file import check_coco_file
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.image_headers import HeaderIndex
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.preflight.pictures import check_pictures
from diff2in1_mm.preflight.xml_files import check_xml_files

SIZE = 480, 640  # height and width
CLASSES = ('ground', 'disc', 'block')
XML = (
    '<annotation><size><width>640</width><height>480</height></size>'
    + '<object><name>disc</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>99</xmax><ymax>99</ymax></bndbox></object>'
    * 7
    + '</annotation>'
)


def make(root: Path, count: int) -> None:
    """Copies of 16 different images, which are files of their own to a disk."""
    rng = np.random.default_rng(0)
    for folder in ('img', 'ann', 'Annotations'):
        (root / folder).mkdir()
    for i in trange(count, desc='Making images', leave=False):
        name = f'{i:06d}'
        if i < 16:
            labels = rng.integers(0, 3, (SIZE[0] // 16, SIZE[1] // 16), np.uint8).repeat(16, 0).repeat(16, 1)
            Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(root / f'img/{name}.jpg', quality=60)
            Image.fromarray(labels).save(root / f'ann/{name}.png')
        else:
            shutil.copyfile(root / f'img/{i % 16:06d}.jpg', root / f'img/{name}.jpg')
            shutil.copyfile(root / f'ann/{i % 16:06d}.png', root / f'ann/{name}.png')
        (root / f'Annotations/{name}.xml').write_text(XML)
    (root / 'names.txt').write_text('\n'.join(f'{i:06d}' for i in range(count)))
    images = [dict(id=i + 1, file_name=f'{i:06d}.jpg', width=SIZE[1], height=SIZE[0]) for i in range(count)]
    objects = [
        dict(id=k + 1, image_id=1 + k % count, category_id=1 + k % 2, bbox=[9, 9, 90, 90], area=8100, iscrowd=0)
        for k in range(7 * count)
    ]
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES[1:], 1)]
    (root / 'instances.json').write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))


def timed(name: str, look) -> float:
    start = time.perf_counter()
    look()
    seconds = time.perf_counter() - start
    print(f'{name:28} {seconds:6.2f} s', flush=True)
    return seconds


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=10000)
    args = parser.parse_args(argv)
    init_default_scope('mmseg')
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, args.images)
        dataset = DATASETS.build(
            dict(
                type='BaseSegDataset',
                data_root=folder,
                data_prefix=dict(img_path='img', seg_map_path='ann'),
                metainfo=dict(classes=CLASSES),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
            )
        )
        voc = dict(type='mmdet.VOCDataset', data_root=folder, ann_file='names.txt', lazy_init=True, pipeline=[])
        boxes = DATASETS.build(dict(voc, data_prefix=dict(sub_data_root=''), metainfo=dict(classes=CLASSES[1:])))
        for start in ('cold', 'warm'):
            index = HeaderIndex(str(root / 'image_headers.json'))
            total = timed(f'{start}: files and headers', lambda: check_pictures(dataset, Findings(), index))  # noqa: B023
            total += timed(f'{start}: 64 label maps', lambda: check_labels(dataset, 64))
            print(f'{start}: segmentation together {total:6.2f} s')
            coco = str(root / 'instances.json')
            timed(f'{start}: COCO file', lambda: check_coco_file(coco, CLASSES[1:], Findings(), evaluated=True))  # noqa: B023
            timed(f'{start}: VOC files', lambda: check_xml_files(boxes, CLASSES[1:], Findings()))


if __name__ == '__main__':
    main()
