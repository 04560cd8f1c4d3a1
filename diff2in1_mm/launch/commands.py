"""The commands of an installed package: each runs the script of the same name that it ships.

``diff2in1-train CONFIG`` is ``python tools/train.py CONFIG`` without a checkout. Under several
processes: ``torchrun --nproc_per_node=2 $(which diff2in1-train) CONFIG --launcher pytorch``.
"""

import runpy
import sys

from ..utils.resources import tool_path


def _run(script: str) -> None:
    path = tool_path(script)
    sys.argv[0] = path  # what usage messages and relative look-ups go by
    runpy.run_path(path, run_name='__main__')


def train() -> None:
    """``diff2in1-train``: warm-up, creation and self-improvement in one run."""
    _run('tools/train.py')


def test() -> None:
    """``diff2in1-test``: evaluates a checkpoint."""
    _run('tools/test.py')


def create_data() -> None:
    """``diff2in1-create-data``: the creation stage alone."""
    _run('tools/create_data.py')


def train_diffusion() -> None:
    """``diff2in1-train-diffusion``: trains or adapts a latent diffusion model."""
    _run('tools/train_diffusion.py')


def evaluate_synthetic() -> None:
    """``diff2in1-evaluate-synthetic``: FID, KID and diversity of a store."""
    _run('tools/evaluate_synthetic.py')


def switch_in() -> None:
    """``diff2in1-switch-in``: the Diff-2-in-1 version of somebody's config."""
    _run('tools/switch_in.py')


def convert_checkpoint() -> None:
    """``diff2in1-convert-checkpoint``: published checkpoints in our names."""
    _run('tools/convert_checkpoint.py')


def prepare_data() -> None:
    """``diff2in1-prepare-data``: published copies of CamVid and BCCD in our layout."""
    _run('tools/prepare_data.py')


def demo() -> None:
    """``diff2in1-demo``: predictions as pictures."""
    _run('demo/image_demo.py')
