"""The commands of an installed package: each runs the script of the same name that it ships.

``diff2in1-train CONFIG`` is ``python tools/train.py CONFIG`` without a checkout. Under several
processes: ``torchrun --nproc_per_node=2 $(which diff2in1-train) CONFIG --launcher pytorch``.
"""

import runpy
import sys
from functools import partial

from ..utils.resources import tool_path


def _run(script: str) -> None:
    path = tool_path(script)
    sys.argv[0] = path  # what usage messages and relative look-ups go by
    runpy.run_path(path, run_name='__main__')


#: ``diff2in1-train``: warm-up, creation and self-improvement in one run.
train = partial(_run, 'tools/train.py')
#: ``diff2in1-test``: evaluates a checkpoint.
test = partial(_run, 'tools/test.py')
#: ``diff2in1-create-data``: the creation stage alone.
create_data = partial(_run, 'tools/create_data.py')
#: ``diff2in1-does-it-help``: controls and method of a config over several seeds.
does_it_help = partial(_run, 'tools/does_it_help.py')
#: ``diff2in1-train-diffusion``: trains or adapts a latent diffusion model.
train_diffusion = partial(_run, 'tools/train_diffusion.py')
#: ``diff2in1-evaluate-synthetic``: FID, KID and diversity of a store.
evaluate_synthetic = partial(_run, 'tools/evaluate_synthetic.py')
#: ``diff2in1-switch-in``: the Diff-2-in-1 version of somebody's config.
switch_in = partial(_run, 'tools/switch_in.py')
#: ``diff2in1-convert-checkpoint``: published checkpoints in our names.
convert_checkpoint = partial(_run, 'tools/convert_checkpoint.py')
#: ``diff2in1-prepare-data``: published copies of CamVid and BCCD in our layout.
prepare_data = partial(_run, 'tools/prepare_data.py')
#: ``diff2in1-diffusion-info``: what a diffusion model is, and the features that it gives.
diffusion_info = partial(_run, 'tools/diffusion_info.py')
#: ``diff2in1-demo``: predictions as pictures.
demo = partial(_run, 'demo/image_demo.py')
