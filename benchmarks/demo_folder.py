"""What the demo adds to the model's own time over a folder of pictures: reading, drawing and writing beside it.

    python benchmarks/demo_folder.py --data-root data/rooms --count 50 --rounds 3

Rooms through the shipped config with weights as they begin, in batches; the model alone takes the same batches from
memory. By the clock, since the point is what happens beside: on a machine that does nothing else.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from common import machine
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.utils.pictures import write_picture
from diff2in1_mm.visualization.batches import draw_in_batches
from diff2in1_mm.visualization.predictor import Predictor, predictor_for
from diff2in1_mm.visualization.variants import with_legend


def predictor_of(folder: str, data_root: str, device: str) -> Predictor:
    """The shipped config with weights as they begin."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py'))
    init_default_scope('mmseg')
    cfg.model.backbone.cached_images = 0
    cfg.test_dataloader.dataset.data_root = data_root
    model = MODELS.build(cfg.model)
    checkpoint = Path(folder, 'begin.pth')
    names = [f'class {i}' for i in range(cfg.model.decode_head.num_classes)]
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=names))), checkpoint)
    return predictor_for(cfg, str(checkpoint), device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', default='data/rooms')
    parser.add_argument('--count', type=int, default=50)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    paths = [str(path) for path in sorted(Path(args.data_root, 'images', 'val').iterdir())[: args.count]]
    with tempfile.TemporaryDirectory() as folder:
        predictor = predictor_of(folder, args.data_root, args.device)

        def draw(path, image, prediction):
            picture = predictor.draw(image, prediction)
            legend = predictor.legend(predictor.present(prediction))
            write_picture(f'{folder}/{Path(path).stem}.png', with_legend(picture, legend))

        def whole():
            load = partial(load_image, turn=predictor.turns)
            for _ in draw_in_batches(predictor, paths, load, draw, args.batch_size):
                pass

        read = [predictor.read(path) for path in paths]

        def own():
            for first in range(0, len(read), args.batch_size):
                predictor.predict_together(read[first : first + args.batch_size])

        own()  # the first batch allocates
        ratios, seconds = [], []
        for _ in range(args.rounds):
            taken = []
            for run in (whole, own):
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
            ratios.append(taken[0] / taken[1])
            seconds.append(taken[1])
    print(f'{len(paths)} pictures in batches of {args.batch_size} ({machine(args.device)})')
    print(f'  {statistics.median(ratios):.2f} x the model alone, {statistics.median(seconds):.1f} s')


if __name__ == '__main__':
    main()
