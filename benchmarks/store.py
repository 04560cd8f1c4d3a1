"""What a store costs: opening, serving, adding, merging and pruning it.

    python benchmarks/store.py --samples 1000000 --folder /tmp

Samples are hard links of a few files, so that a million is laid down in minutes and takes the space of folders; each
has a record of its own. The store is removed at the end. Times of reading are of the processor; the former way is what
every process did before the index: read all records, look at all files, keep a Python object for each sample.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import DATASETS, init_default_scope
from tqdm import trange

import diff2in1_mm  # noqa: F401  (registers all modules)
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.instances import Instances

CLASSES = ('a', 'b')
REAL = 10_000  # source images
LINKS = 30_000  # of one file, and as many again in the former store; ext4 takes 65,000
SIZE = 512
FORMER = 20_000  # samples of which the former way is measured


def in_a_process(function: Callable, *args: Any) -> dict[str, Any]:
    """A call in a fork: what it gives, seconds of wall and processor, megabytes that it took and held in the end."""

    def run(pipe) -> None:
        before = _memory('VmRSS')
        Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*args)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        held = dict(peak=_memory('VmHWM') - before, memory=_memory('VmRSS') - before)
        pipe.send(dict(result=result, wall=wall, cpu=cpu, **held))

    ours, theirs = multiprocessing.Pipe(False)
    process = multiprocessing.get_context('fork').Process(target=run, args=(theirs,))
    process.start()
    found = ours.recv()
    process.join()
    return found


def _memory(name: str) -> float:
    (line,) = (line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def sample(seed: int) -> tuple[np.ndarray, dict[str, Instances]]:
    """A smooth picture with little noise, which PNG packs about as a photograph, and five boxes."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (16, 16, 3), np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image = np.clip(smooth.astype(np.int16) + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8)
    corners = rng.uniform(0, SIZE / 2, (5, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, SIZE / 2, (5, 2))], 1)
    return image, dict(instances=Instances(boxes, np.arange(5) % 2, np.ones(5), np.zeros(5, bool), None))


def place_of(number: int) -> tuple[int, int]:
    """Source image and copy of a sample."""
    return number // 100 % REAL, number % 100


def record_of(number: int, round: int = 0) -> SampleRecord:
    source, copy = place_of(number)
    return SampleRecord(
        id=SyntheticStore.sample_id(round, source, copy),
        round=round,
        source=source,
        source_path=f'data/images/{source:06d}.jpg',
        copy=copy,
        seed=number,
        T=400,
        steps=10,
        solver='dpmsolver++',
        caption='a photo of a street with many cars',
        checkpoint='0123456789abcdef',
        quality=dict(confidence=0.9, ignored=0.1),
    )


def new_store(root: Path) -> SyntheticStore:
    return SyntheticStore.prepare(root, ['instances'], CLASSES, 'benchmark', {})


def lay_down(
    store: SyntheticStore, samples: int, like: tuple[SampleRecord, np.ndarray, dict[str, Any]] | None = None
) -> None:
    """Samples with links for files, and a line of text for each record.

    Args:
        store: Without samples.
        samples: How many.
        like: Record, image and annotations that all are like, but for their names and confidence; None: boxes.
    """
    if like is None:
        image, annotations = sample(0)
        like = record_of(0), image[:64, :64], annotations
    first, contents = store.encoded(*like)
    line, folder = first.to_json(None).decode(), Path(first.image).parent.name
    own, originals = folder, dict[str, str]()
    with open(store.root / 'records/r000-benchmark.jsonl', 'w') as records:
        for number in trange(samples, desc='Making the store', leave=False):
            source, copy = place_of(number)
            id = store.sample_id(0, source, copy)
            own = Path(store.layout.image(id)).parent.name if number % 100 == 0 else own
            for name, content in contents.items():
                path = f'{store.root}/{name}'.replace(f'{folder}/{first.id}', f'{own}/{id}')
                if number % 100 == 0:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                if number % LINKS == 0:
                    Path(path).write_bytes(content)
                    originals[name] = path
                else:
                    os.link(originals[name], path)
            text = line.replace(f'{folder}/', f'{own}/').replace(first.id, id)
            text = text.replace('"confidence": 0.9', f'"confidence": {number % 997 / 997:.3f}')
            records.write(text.replace('"source": 0', f'"source": {source}').replace('"copy": 0', f'"copy": {copy}'))


def real_set(root: Path) -> dict:
    """A COCO set of so many entries of one small image."""
    root.mkdir()
    cv2.imwrite(str(root / 'x.png'), np.zeros((64, 64, 3), np.uint8))
    images = [dict(id=i, file_name='x.png', width=64, height=64) for i in range(REAL)]
    boxes = [dict(id=i, image_id=i, category_id=1, iscrowd=0, area=64, bbox=[4, 4, 8, 8]) for i in range(REAL)]
    content = dict(images=images, annotations=boxes, categories=[dict(id=i + 1, name=n) for i, n in enumerate(CLASSES)])
    (root / 'all.json').write_text(json.dumps(content))
    return dict(
        type='mmdet.CocoDataset',
        ann_file=str(root / 'all.json'),
        data_prefix=dict(img=f'{root}/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs'),
        ],
    )


def first_sample(real: Any, root: Path) -> str:
    """Open, serve and load: as the main process does, and each worker."""
    mix = DATASETS.build(dict(type='SyntheticMixDataset', dataset=real, store=str(root)))
    mix.serve(0)
    return mix[len(real)]['data_samples'].sample_id


def former_files(root: Path, large: SyntheticStore, samples: int) -> list[Path]:
    """The first samples with a file for each record, as stores were before."""
    (root / 'records').mkdir(parents=True)
    records = large.records()[:samples]
    paths = [root / f'records/{record.id}.json' for record in records]
    folders = set[str]()
    for path, record in zip(paths, records):
        path.write_bytes(record.to_json())
        folders |= {str(Path(name).parent) for name in record.bytes}
    for folder in folders:
        shutil.copytree(large.root / folder, root / folder, copy_function=os.link)
    return paths


def former_opening(root: Path, paths: list[Path]) -> list[int]:
    """All records and the sizes of all files, as objects."""
    sizes = {
        f'{folder}/{entry.name}': entry.stat().st_size
        for kind in ('images', 'annotations')
        for folder, _, _ in os.walk(root / kind)
        for entry in os.scandir(folder)
    }
    records = {}
    for path in paths:
        record = SampleRecord.from_json(path.read_bytes(), ['instances'])
        if all(sizes.get(f'{root}/{name}') == size for name, size in record.bytes.items()):
            records[record.id] = record
    assert len(records) == len(paths)
    served = [records[id] for id in sorted(records)]
    _former.extend(served)  # held, as a data set holds them
    return [record.source for record in served][:1]


_former: list[SampleRecord] = []


def reading(root: Path, real: Any, samples: int) -> None:
    """Opening a large store, the first time and again, beside a small one and the former way."""
    small = new_store(root / 'small')
    small.add(record_of(0), *sample(0))
    lay_down(new_store(root / 'large'), samples)
    made = in_a_process(lambda: len(SyntheticStore(root / 'large')))
    size = (root / 'large/index.sqlite').stat().st_size / samples
    print(
        f'index of {made["result"]} samples: {made["cpu"]:.1f} s, {made["peak"]:.0f} MB, {size:.0f} B a sample',
        flush=True,
    )
    paths = former_files(root / 'former', SyntheticStore(root / 'large'), min(samples, FORMER))
    former = in_a_process(former_opening, root / 'former', paths)
    base, first = (in_a_process(first_sample, real, root / name) for name in ('small', 'large'))
    before, now = former['cpu'] / len(paths) * 1e6, (first['cpu'] - base['cpu']) / samples * 1e6
    print(f'former way: {before:.1f} us, {former["memory"] * 2**20 / len(paths):.0f} B a sample, of {len(paths)}')
    print(
        f'open, serve, first sample: {first["cpu"]:.2f} s, with one sample {base["cpu"]:.2f} s: {now:.2f} us a sample'
    )
    print(f'  {now / before:.3f} x; memory above one sample: {first["memory"] - base["memory"]:.0f} MB', flush=True)


def adding(root: Path, count: int) -> None:
    """One process and four, beside writing the same with OpenCV."""
    data = [sample(seed) for seed in range(4)]
    store = new_store(root / 'add')

    def plain() -> None:
        (root / 'plain').mkdir()
        for number in range(count):
            image, annotations = data[number % 4]
            cv2.imwrite(str(root / f'plain/{number}.png'), image)
            record, files = record_of(number), annotations['instances']
            content = dict(boxes=files.bboxes.tolist(), labels=files.labels.tolist(), record=vars(record))
            (root / f'plain/{number}.json').write_text(json.dumps(content))

    def ours(round: int, begin: int, end: int) -> None:
        for number in range(begin, end):
            store.add(record_of(number, round), *data[number % 4])

    def four() -> None:
        work = [
            multiprocessing.get_context('fork').Process(target=ours, args=(2, part * count, (part + 1) * count))
            for part in range(4)
        ]
        for process in work:
            process.start()
        for process in work:
            process.join()

    written, one, many = in_a_process(plain), in_a_process(ours, 1, 0, count), in_a_process(four)
    for name, found in (('cv2.imwrite and a JSON', written), ('add', one)):
        print(f'{name}: {found["wall"] / count * 1e3:.1f} ms, processor {found["cpu"] / count * 1e3:.1f} ms')
    print(f'  {one["wall"] / written["wall"]:.2f} x, processor {one["cpu"] / written["cpu"]:.2f} x')
    faster = 4 * one['wall'] / many['wall']
    print(f'four processes on {os.cpu_count()} cores: {faster:.2f} x the samples of one', flush=True)


def tidying(root: Path, samples: int) -> None:
    """The file of all boxes, and the removal of a round."""
    store = new_store(root / 'tidy')
    lay_down(store, samples)
    store.add(record_of(0, 1), *sample(0))
    for name, call in (
        ('merge', lambda: SyntheticStore(store.root).merge(0)),
        ('prune', lambda: SyntheticStore(store.root).prune(1)),
    ):
        found = in_a_process(call)
        print(f'{name} of {samples} samples: {found["cpu"]:.1f} s, {found["peak"]:.0f} MB')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=1_000_000)
    parser.add_argument('--tidied', type=int, default=1_000_000, help='samples that are merged and pruned')
    parser.add_argument('--added', type=int, default=50, help='samples that each process adds')
    parser.add_argument(
        '--parts', nargs='+', choices=['reading', 'adding', 'tidying'], default=['adding', 'reading', 'tidying']
    )
    parser.add_argument('--folder', help='where the store is made; default: the folder of temporary files')
    args = parser.parse_args()
    init_default_scope('mmdet')
    root = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        if 'adding' in args.parts:
            adding(root, args.added)
        if 'reading' in args.parts:
            reading(root, DATASETS.build(real_set(root / 'real')), args.samples)
        if 'tidying' in args.parts:
            tidying(root, args.tidied)
    finally:
        shutil.rmtree(root)


if __name__ == '__main__':
    main()
