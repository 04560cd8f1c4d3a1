"""Peak memory of a supervised iteration whose denoiser is trained along, and what a checkpoint of it holds.

    python benchmarks/trained_memory.py --model sd15 --device cpu --batch-size 1 --size 256
    python benchmarks/trained_memory.py --model sd15 --device cpu --batch-size 1 --size 256 --with-cp

On a CPU (of Linux) the peak is that of the process while it iterates, without what loading took.
"""

import io
from pathlib import Path

import torch
from common import arguments, random_pipeline, report, segmentor
from mmengine.optim import OptimWrapper
from self_improving import batch, iteration


def peak(device: str) -> float:
    """GiB since :func:`forget`."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 2**30
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 2**20


def forget(device: str) -> None:
    """Begin a new peak."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
    else:
        Path('/proc/self/clear_refs').write_text('5')


def size_of(content: dict) -> float:
    """MB of a file that holds it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.tell() / 1e6


def main() -> None:
    parser = arguments(__doc__.split('\n')[0])
    parser.add_argument('--train', choices=['lora', 'full'], default='lora')
    parser.add_argument('--with-cp', action='store_true', help='gradient checkpointing of the denoiser')
    parser.add_argument('--size', type=int, default=256, help='of the square images')
    parser.add_argument('--dtype', default='fp32', help='of what is frozen')
    args = parser.parse_args()
    with random_pipeline(args.model) as folder:
        model = segmentor(args.model, folder, args.device, dtype=args.dtype, train=args.train, with_cp=args.with_cp)
    model.train()
    data = batch((args.size, args.size), args.batch_size, args.device, synthetic=False)
    optimizer = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5))
    forget(args.device)
    before = peak(args.device)
    iteration(model, data, optimizer)
    rows = [('before', before, 'GiB'), ('peak of an iteration', peak(args.device), 'GiB')]
    trained = model.backbone.denoiser.state_dict()
    count = sum(tensor.numel() for tensor in trained.values())
    rows += [
        ('trained weights of the denoiser', count / 1e6, 'M'),
        ('a file of them', size_of(trained), 'MB'),
        ('a file of all weights and the optimizer', size_of([model.state_dict(), optimizer.state_dict()]), 'MB'),
    ]
    report(f'{args.train}, with_cp={args.with_cp}, {args.size} pixels, {args.model}', rows, args)


if __name__ == '__main__':
    main()
