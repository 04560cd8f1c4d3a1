#!/bin/bash
# mmengine 0.10.7 with transformers 5.24.0: `import mmengine.optim` loads transformers' training code and peft, for one optimizer.
#
# Expected: an optional library that lies in the environment is imported when something of it is asked for.
# Seen: to register the optimizer Adafactor, MMEngine imports it from transformers; version 5 finds it through its trainer's
# utilities, which import peft, its tuners and scipy. Whatever imports a Runner pays for it, a project that uses neither
# library as well: 3342 modules and 3.8 s of a processor where torch and MMEngine alone are 1949 and 1.8 s.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 mmengine==0.10.7 'setuptools<80'
cd "$folder"
cat > look.py <<'PYTHON'
import sys
import time
from importlib.metadata import version

import mmengine.optim  # noqa: F401

loaded = [name for name in ('transformers.trainer_utils', 'peft.tuners', 'scipy') if name in sys.modules]
print('mmengine', version('mmengine'), len(sys.modules), 'modules', round(time.process_time(), 1), 's;', ', '.join(loaded) or '-')
PYTHON
echo 'without transformers and peft:'
env/bin/python look.py > /dev/null
env/bin/python look.py | tee before.txt
env/bin/pip install -q transformers==5.24.0 peft==0.21.2 scipy==1.16.3
echo 'with them:'
env/bin/python look.py > /dev/null
env/bin/python look.py | tee after.txt
grep -q 'peft.tuners' after.txt && grep -q 'transformers.trainer_utils' after.txt && ! grep -q 'peft' before.txt ||
    { echo 'Adafactor no longer brings them: this finding no longer holds'; exit 1; }
