#!/bin/bash
# ultralytics 8.4.190: `path: .` in the data.yaml of a YOLO data set is the folder that the reader stands in, and not
# that of the file, which it is where `path` is left out.
#
# Expected: '.' says what leaving it out says, as in other files that name folders relative to themselves; or that a
# relative `path` is always below the folder of all data sets, as it is for every name that is not there by chance.
# Seen: the same data.yaml is found or not, depending on where the command runs; without the line it always is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 ultralytics==8.4.190
export YOLO_CONFIG_DIR="$folder/settings"
mkdir -p "$folder/data/images/train" "$folder/data/labels/train" "$folder/elsewhere" "$folder/settings"
cat > "$folder/look.py" <<'PYTHON'
import os
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from ultralytics.data.utils import check_det_dataset

print('ultralytics', version('ultralytics'))
data = Path(sys.argv[1], 'data')
cv2.imwrite(str(data / 'images/train/a.png'), np.zeros((32, 32, 3), np.uint8))
(data / 'labels/train/a.txt').write_text('0 0.5 0.5 0.5 0.5\n')
rest = 'train: images/train\nval: images/train\nnames:\n  0: thing\n'
(data / 'with.yaml').write_text('path: .\n' + rest)
(data / 'without.yaml').write_text(rest)
found = {}
for place in ('data', 'elsewhere'):
    os.chdir(Path(sys.argv[1], place))
    for name in ('with', 'without'):
        try:
            check_det_dataset(str(data / f'{name}.yaml'), autodownload=False)
            found[place, name] = 'found'
        except FileNotFoundError:
            found[place, name] = 'images not found'
        print(f'in {place}, {name} `path: .`:', found[place, name])
assert found['data', 'with'] == found['data', 'without'] == found['elsewhere', 'without'] == 'found'
assert found['elsewhere', 'with'] == 'images not found', 'this finding no longer holds'
PYTHON
"$folder/env/bin/python" "$folder/look.py" "$folder"
