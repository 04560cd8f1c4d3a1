#!/bin/bash
# mmengine 0.10.7: each data set that is built runs a full garbage collection, also one of three samples.
#
# Expected: building a data set costs what reading its annotations costs; memory of the list that is packed into bytes
# (`serialize_data=True`, the default) is given back by dropping the list, which holds no cycles.
# Seen: one collection of all generations per data set. Its price is that of all objects of the process, so it grows with
# what else is imported (0.2 s and more a data set with MMSegmentation, MMDetection and transformers beside torch). Test suites
# that build many Runners spend most of their time in it; `gc.freeze()` after the imports takes it away.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 'setuptools<80'
cd "$folder"
cat > look.py <<'PYTHON'
import gc
import time
from importlib.metadata import version

import torch  # noqa: F401  (objects that stay)
from mmengine.dataset import BaseDataset


class Three(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=f'{i}.png') for i in range(3)]


def built(count=20, **options):
    """Full collections and seconds of so many data sets."""
    full = []
    gc.callbacks.append(lambda phase, info: full.append(phase) if info['generation'] == 2 and phase == 'start' else None)
    begin = time.perf_counter()
    for _ in range(count):
        assert len(Three(**options)) == 3
    seconds = time.perf_counter() - begin
    gc.callbacks.pop()
    return len(full), seconds


print('mmengine', version('mmengine'), 'torch', version('torch'))
packed, slow = built()
plain, quick = built(serialize_data=False)
gc.collect()
gc.freeze()
frozen, after = built()
for name, full, seconds in (('as it is', packed, slow), ('serialize_data=False', plain, quick), ('gc.freeze()', frozen, after)):
    print(f'20 data sets of 3 samples, {name}: {full} full collections, {seconds / 20 * 1000:.2f} ms a data set')
if packed < 20 or slow < 5 * quick or after > 0.5 * slow:
    raise SystemExit('collections are fewer, or cost nothing: this finding no longer holds')
PYTHON
"$folder/env/bin/python" look.py
