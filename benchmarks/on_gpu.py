"""Everything that is to be measured on a GPU: Stable Diffusion 1.5's architecture, random weights, bf16, 512 x 512.

    python benchmarks/on_gpu.py --out work_dirs/on_gpu               # some ten minutes of one GPU
    python benchmarks/on_gpu.py --out work_dirs/on_cpu --model small --device cpu --rounds 1

The backbone over a bare diffusers forward and what generation takes outside of U-Net and autoencoder; a self-improving
over a supervised iteration, logged ones and ones with kept maps too; features on disk over computed ones; windows
together over one by one; and how often a self-improving iteration makes the processor wait for the GPU. On a GPU also
the backbone over bare forwards of SDXL, SD 3.5-medium and FLUX.2-klein-4B. Figures go to OUT, a JSON file for each,
which is not run again.
"""

import argparse
import os
import os.path as osp
import subprocess
import sys
import warnings

import torch
from common import ARCHITECTURES, random_pipeline, segmentor
from mmengine.optim import OptimWrapper
from self_improving import batch, iteration

from diff2in1_mm.self_improving.pseudo_labels import BatchPass, ViewSettings
from diff2in1_mm.self_improving.theta_c import ThetaC
from diff2in1_mm.tasks import labeller_for

RUNS = {
    'generation': ['generation.py'],
    'self_improving': ['self_improving.py'],
    'self_improving_cached': ['self_improving.py', '--cached'],
    'self_improving_lora': ['self_improving.py', '--train', 'lora', '--with-cp'],
    'feature_cache': ['feature_cache.py'],
    'windows': ['windows.py'],
    'heads': ['heads.py'],
}


def waits(model_name: str) -> int:
    """How often the processor waits for the GPU in a self-improving iteration that is not logged."""
    size = ARCHITECTURES[model_name]['size']
    with random_pipeline(model_name) as folder:
        model = segmentor(model_name, folder, 'cuda').train()
    optimizer = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5))
    labels = BatchPass(model, labeller_for(model), ViewSettings(student_view='same'), seed=0)
    labels.theta_c = ThetaC(model)
    for _ in range(2):  # what is made once
        iteration(model, batch(size, 4, 'cuda', synthetic=True), optimizer)
    data = batch(size, 4, 'cuda', synthetic=True)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            iteration(model, data, optimizer)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    found = [warning for warning in told if 'synchronizing' in str(warning.message)]
    for warning in found:
        print(f'  waits at {warning.filename}:{warning.lineno}')
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/on_gpu')
    parser.add_argument('--model', choices=sorted(ARCHITECTURES), default='sd15')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=10)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    options = [
        f'--{name}={getattr(args, name.replace("-", "_"))}' for name in ('model', 'device', 'batch-size', 'rounds')
    ]
    failed = []
    full = {'families': ['families.py', '--full']} if args.device.startswith('cuda') else {}
    for name, (script, *own) in (RUNS | full).items():
        path = osp.join(args.out, f'{name}.json')
        if not osp.exists(path):
            command = [sys.executable, osp.join(osp.dirname(osp.abspath(__file__)), script), *own, *options]
            if subprocess.run([*command, f'--out={path}']).returncode:
                failed.append(name)
    if args.device.startswith('cuda'):
        print(f'\nA self-improving iteration waits for the GPU {waits(args.model)} times')
    if failed:
        raise SystemExit(f'{", ".join(failed)} failed: see above; the others are in {args.out}')


if __name__ == '__main__':
    main()
