"""Windows of an image and of its mirror image in batches against MMSegmentation's loop, at equal results.

    python benchmarks/windows.py                      # the small model, CPU
    python benchmarks/windows.py --model sd15         # Stable Diffusion 1.5's size, GPU

Eight windows for each of the two, as `mode='slide'` and `--tta` have them. On a CPU seconds are processor time.
"""

import torch
from common import ARCHITECTURES, alternate, arguments, clock_of, random_pipeline, report, segmentor
from mmengine.config import ConfigDict

from diff2in1_mm.models.segmentors.windows import batch_windows


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--window-batch', type=int, default=8, help='windows in a pass')
    args = parser.parse_args()
    height, width = ARCHITECTURES[args.model]['size']
    with random_pipeline(args.model) as folder:
        model = segmentor(args.model, folder, args.device).eval()
    model.test_cfg = ConfigDict(
        mode='slide',
        crop_size=(height, width),
        stride=(height * 2 // 3, width * 2 // 3),
        window_batch=args.window_batch,
    )
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height * 5 // 3, width * 7 // 3, generator=generator).mul(2).sub(1).to(args.device)
    metas = [dict(ori_shape=image.shape[2:], img_shape=image.shape[2:])]
    passes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))

    def one_by_one():
        return [model.inference(view, list(metas))[0] for view in (image, image.flip(-1))]

    def in_batches():
        return model.inference(torch.cat([image, image.flip(-1)]), metas * 2)

    expected, loop_passes = torch.stack(one_by_one()), len(passes)

    def with_batches():
        batch_windows(model)
        found = in_batches()
        del model.slide_inference
        return found

    passes.clear()
    difference = (with_batches() - expected).abs().max() / expected.abs().max()
    own_passes = len(passes)
    seconds = alternate(dict(loop=one_by_one, batches=with_batches), args.rounds, args.device, clock_of(args.device))
    rows = [
        (f"MMSegmentation's loop, {loop_passes} passes of the backbone", seconds['loop'], 's'),
        (f'in batches, {own_passes} passes: ratio to it', seconds['batches'] / seconds['loop'], 'x'),
        ('largest difference of a score, over the largest score', 1e6 * float(difference), 'millionths'),
    ]
    report(f'Windows and their mirror images, {args.model}', rows, args)


if __name__ == '__main__':
    main()
