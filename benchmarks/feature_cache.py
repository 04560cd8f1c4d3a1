"""A training iteration whose frozen features are on disk against one that computes them.

    python benchmarks/feature_cache.py                                        # the small model, CPU
    python benchmarks/feature_cache.py --model sd15 --batch-size 4 --rounds 1 # Stable Diffusion 1.5's size

The same FPN head on the same images; reading from disk and recognising the images included. What the first iteration
takes, which computes and writes, is told too. On a CPU seconds are processor time.
"""

import tempfile

import torch
from common import ARCHITECTURES, alternate, arguments, clock_of, random_pipeline, report, segmentor
from mmengine.optim import OptimWrapper
from self_improving import batch, iteration

from diff2in1_mm.models.backbones.kept_features import KeptFeatures


def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--dtype', choices=['fp16', 'bf16', 'fp32'], default='fp16', help='of the features on disk')
    args = parser.parse_args()
    size = ARCHITECTURES[args.model]['size']
    dtype = 'fp32' if args.device == 'cpu' else ARCHITECTURES[args.model]['dtype']
    with random_pipeline(args.model) as folder:
        model = segmentor(args.model, folder, args.device, dtype=dtype).train()
    backbone = model.backbone
    optimizer = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5))
    data = batch(size, args.batch_size, args.device, synthetic=False)
    rows, clock = [], clock_of(args.device)
    with tempfile.TemporaryDirectory() as folder:
        caches = {keep: KeptFeatures(folder, keep=keep, dtype=args.dtype) for keep in ('latents', 'maps')}

        def train(cache) -> None:
            backbone.feature_cache = cache
            iteration(model, data, optimizer)

        for keep, cache in caches.items():
            start = clock()
            train(cache)
            rows.append((f'{keep}: the first iteration, which fills the cache', clock() - start, 's'))
            rows.append((f'{keep}: on disk', cache.bytes_of(backbone, size) / 1e6, 'MB an image'))
        sides = {name: lambda c=cache: train(c) for name, cache in dict(computed=None, **caches).items()}
        seconds = alternate(sides, args.rounds, args.device, clock)
        backbone.feature_cache = caches['maps']
        features = backbone.features(data['inputs'])

        def head() -> None:
            with backbone.serve(features):
                iteration(model, data, optimizer)

        alone = alternate({'head': head}, args.rounds, args.device, clock)['head']
    rows += [('iteration that computes its features', seconds['computed'], 's'), ('of these the head', alone, 's')]
    rows += [(f'{keep} kept: ratio to it', seconds[keep] / seconds['computed'], 'x') for keep in caches]
    report(f'Training iteration with features on disk, {args.model}', rows, args)


if __name__ == '__main__':
    main()
