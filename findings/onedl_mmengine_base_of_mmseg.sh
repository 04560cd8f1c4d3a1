#!/bin/bash
# onedl-mmengine 0.10.12 with onedl-mmsegmentation 1.4.2: a config that inherits from an installed library cannot be read.
#
# Expected: `_base_ = 'mmseg::_base_/default_runtime.py'` reads the config that the installed MMSegmentation ships, as
# with mmengine 0.10.7 and mmsegmentation 1.2.2; the forks keep the import names.
# Seen: ModuleNotFoundError. MMEngine looks a library up by the name of its distribution, and its table still says
# "mmsegmentation", while the fork that is installed is the distribution "onedl-mmsegmentation".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 onedl-mmengine==0.10.12
"$folder/env/bin/pip" install -q --no-deps onedl-mmsegmentation==1.4.2
cd "$folder"
echo "_base_ = 'mmseg::_base_/default_runtime.py'" > config.py
cat > look.py <<'PYTHON'
from importlib.metadata import distribution, version

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

print('onedl-mmengine', version('onedl-mmengine'), 'onedl-mmsegmentation', version('onedl-mmsegmentation'))
shipped = [str(file) for file in distribution('onedl-mmsegmentation').files if str(file).endswith('_base_/default_runtime.py')]
print('the installed fork ships', shipped[:1])
assert shipped
print('looked up as', MODULE2PACKAGE['mmseg'])
assert MODULE2PACKAGE['mmseg'] == 'mmsegmentation'
try:
    Config.fromfile('config.py')
except ModuleNotFoundError as error:
    print('ModuleNotFoundError:', error)
else:
    raise SystemExit('the config is read: this finding no longer holds')
PYTHON
"$folder/env/bin/python" look.py
