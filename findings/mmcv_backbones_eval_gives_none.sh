#!/bin/bash
# mmcv-lite 2.1.0: `eval()` of its ResNet and VGG gives None, so that `model = ResNet(18).eval()` loses the model.
#
# Expected: torch.nn.Module.eval() and train() return the module itself, and `model = Module(...).eval()` is the usual way
# to write it; a class that overrides train() to keep parts frozen returns what the base class does.
# Seen: None, after which the model was put into evaluation mode all the same. The backbones of MMSegmentation 1.2.2 and
# MMDetection 3.3.0 that override train() are written in the same way.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 mmcv-lite==2.1.0 'setuptools<80'
cd "$folder"
cat > look.py <<'PYTHON'
from importlib.metadata import version

import torch
from mmcv.cnn import VGG, ResNet

print('mmcv-lite', version('mmcv-lite'), 'torch', version('torch'))
plain = torch.nn.Conv2d(3, 3, 1)
assert plain.eval() is plain
for backbone in (ResNet(18), VGG(11)):
    given = backbone.eval(), backbone.train()
    print(type(backbone).__name__, 'eval() and train() give', given)
    if given != (None, None):
        raise SystemExit('they give something: this finding no longer holds')
    backbone.eval()
    assert not backbone.training
PYTHON
"$folder/env/bin/python" look.py
