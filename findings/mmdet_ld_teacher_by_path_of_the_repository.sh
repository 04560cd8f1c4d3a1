#!/bin/bash
# MMDetection 3.3.0: the configs of LD, which come with the package and are found by name ('mmdet::ld/...'), name the
# config of their teacher by a path from the root of the repository, and so can be built in a checkout alone.
#
# Expected: what a packaged config names is found wherever it is used, as its `_base_` is, which is relative to the file.
# Seen: the path 'configs/gfl/...' is taken relative to the working directory, by Config.fromfile as
# KnowledgeDistillationSingleStageDetector calls it, and is not there; the file itself lies in the package.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 'setuptools<80'
"$folder/env/bin/pip" install -q --no-deps mmdet==3.3.0
cd "$folder"
cat > look.py <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import get_installed_path

print('mmdet', version('mmdet'), 'mmengine', version('mmengine'))
configs = Path(get_installed_path('mmdet'), '.mim', 'configs')
names = sorted(path.relative_to(configs) for path in (configs / 'ld').glob('ld_*.py'))
assert names
for name in names:
    teacher = Config.fromstring(f"_base_ = ['mmdet::{name}']", '.py').model.teacher_config
    assert (configs.parent / teacher).is_file(), 'the package has it'
    try:
        Config.fromfile(teacher)
    except FileNotFoundError as error:
        print(name, '->', error)
    else:
        raise SystemExit(f'{name}: {teacher} was found: this finding no longer holds')
PYTHON
"$folder/env/bin/python" look.py
