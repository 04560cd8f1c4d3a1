#!/bin/bash
# MMSegmentation 1.2.2: the configs of SAN for PASCAL VOC and PASCAL Context cannot be trained, as their loss keeps the
# class weights of COCO-Stuff.
#
# Expected: a config that sets decode_head.num_classes has a loss for that many classes, as all other configs that
# inherit a model of class weights set these along.
# Seen: the base file makes 172 weights of its own num_classes (171) when it is read, and the two configs set
# num_classes to 20 and 59 alone; a training step raises.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 'setuptools<80'
"$folder/env/bin/pip" install -q --no-deps mmsegmentation==1.2.2
cd "$folder"
cat > look.py <<'PYTHON'
from importlib.metadata import version

import torch
import torch.nn.functional as F
from mmengine.config import Config

print('mmsegmentation', version('mmsegmentation'), 'mmengine', version('mmengine'))
expected = dict(coco_stuff164k='', voc12aug='raises', pascal_context='raises')
for data, told in expected.items():
    name = f'san/san-vit-b16_{data.replace("_stuff", "-stuff")}-640x640.py'
    head = Config.fromstring(f"_base_ = ['mmseg::{name}']", '.py').model.decode_head
    classes = head.num_classes + 1  # of the masks, with 'none'
    (weight,) = (torch.tensor(loss.class_weight) for loss in head.loss_decode if 'class_weight' in loss)
    try:
        F.cross_entropy(torch.zeros(1, classes, 100), torch.zeros(1, 100, dtype=torch.long), weight)
        seen = ''
    except RuntimeError as error:
        seen = 'raises'
        print(f'{name}: {error}')
    if seen != told:
        raise SystemExit(f'{name}: this finding no longer holds')
PYTHON
"$folder/env/bin/python" look.py
