#!/bin/bash
# MMSegmentation 1.2.2: CrossEntropyLoss with class_weight is exactly 0 under float16 autocast (MMEngine's
# AmpOptimWrapper, its default precision) as soon as the pixels' class weights sum to more than 65,504, so that the model
# learns nothing from it, without an error or a NaN.
#
# Expected: the loss of float32, to the precision of float16; without class weights it is that.
# Seen: the mean divides by the sum of the weights of all pixels, in the precision of the logits, whose largest number is
# 65,504: a batch of 2 images of 256 x 256 pixels divides by infinity. GPUs do the same, where such batches are usual; a
# CPU is enough to see it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 mmcv-lite==2.1.0 'setuptools<80'
"$folder/env/bin/pip" install -q --no-deps mmsegmentation==1.2.2
cd "$folder"
cat > look.py <<'PYTHON'
import importlib.util
import sys
import types
from importlib.metadata import distribution, version
from pathlib import Path

import torch
from mmengine.registry import Registry

# the loss's own module: the whole of mmseg asks for mmcv's compiled operators, which it has no use for
package = Path(distribution('mmsegmentation').locate_file('mmseg'))
for name in ('mmseg', 'mmseg.models', 'mmseg.models.losses', 'mmseg.registry'):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(package.joinpath(*name.split('.')[1:]))]
sys.modules['mmseg.registry'].MODELS = Registry('model')
for name in ('utils', 'cross_entropy_loss'):
    full = f'mmseg.models.losses.{name}'
    spec = importlib.util.spec_from_file_location(full, package / f'models/losses/{name}.py')
    sys.modules[full] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[full])
CrossEntropyLoss = sys.modules['mmseg.models.losses.cross_entropy_loss'].CrossEntropyLoss

print('mmsegmentation', version('mmsegmentation'), 'torch', version('torch'))
torch.manual_seed(0)
for side in (128, 256):
    logits, labels = torch.randn(2, 3, side, side), torch.randint(0, 3, (2, side, side))
    for weight in (None, [1.0, 2.0, 0.5]):
        loss = CrossEntropyLoss(class_weight=weight)
        whole = loss(logits, labels).item()
        with torch.autocast('cpu', torch.float16):
            half = loss(logits.half(), labels).item()
        print(f'{side} x {side}, class_weight={weight}: float32 {whole:.4f}, float16 {half:.4f}')
        if (half == 0) != (side == 256 and weight is not None):
            raise SystemExit('this finding no longer holds')
PYTHON
"$folder/env/bin/python" look.py
