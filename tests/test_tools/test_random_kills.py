"""kill -9 at random moments of warm-up, creation, self-improvement and checkpoint writing.

DIFF2IN1_KILLS says how often (3 by default; 20 take about five minutes).
"""

import json
import os
import random
import re
import time

import pytest

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.resources import tool_path

from ..processes import Script
from ..stores import read_one, records_written
from ..test_self_improving.test_hook_whole_run import with_diffusion
from ..tiny_runs import make_images
from .test_train import write

KILLS = int(os.environ.get('DIFF2IN1_KILLS', 3))
ITERATIONS, SOURCES, COPIES = 60, 12, 3
STEPS = ITERATIONS + SOURCES * COPIES  # iterations and samples: what a run does one by one


def iterations(run) -> int:
    """Of the last checkpoint; it is read and checked."""
    if not (run / 'last_checkpoint').exists():
        return 0
    path = (run / 'last_checkpoint').read_text()
    checkpoint = load_weights_only(run.parent / path)
    assert {'state_dict', 'optimizer', 'self_improving'} <= set(checkpoint)
    return checkpoint['meta']['iter']


def progress(run) -> int:
    """Steps done, read from names alone: quick enough to aim with."""
    done = [int(re.search(r'iter_(\d+)', p.name)[1]) for p in run.glob('iter_*.pth')]
    return max(done, default=0) + records_written(run.parent / 'store')


def check_store(root) -> None:
    """Nothing half is read, nothing is there twice."""
    if not (root / 'store.json').exists():
        return
    store = SyntheticStore(root)
    assert not store.damaged
    made = [(record.round, record.source, record.copy) for record in store.records()]
    assert len(set(made)) == len(made)
    for record in store.records():
        image, annotation = read_one(store, record)
        assert image.shape == (32, 32, 3) and annotation.shape == (32, 32)


@pytest.mark.slow
def test_random_kills(tmp_path, pipeline_folder):
    make_images(tmp_path / 'images', count=SOURCES)
    cfg = with_diffusion(
        pipeline_folder,
        tmp_path / 'images',
        tmp_path,
        iters=ITERATIONS,
        hook=dict(warm_up=ITERATIONS // 2, creation=dict(T=300, steps=4, batch_size=2, copies_per_source=COPIES)),
    )
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    path, run = write(cfg, tmp_path), tmp_path / 'run'
    command = [tool_path('tools/train.py'), path, '--work-dir', 'run', '--resume']
    dice, before, moments = random.Random(KILLS), 0, []
    for kill in range(KILLS):
        process = Script(command, tmp_path)
        # Aimed so that the kills spread over the whole run.
        aim = min(STEPS - 1, (kill + 1) * STEPS // (KILLS + 1))
        end = time.monotonic() + 180
        while progress(run) < aim and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        moments.append(progress(run))
        check_store(tmp_path / 'store')
        now = iterations(run)
        assert now >= before, 'a checkpoint was lost'
        before = now
    print(f'killed after {moments} of {STEPS} steps')
    last = Script(command, tmp_path)
    assert last.wait() == 0, last.said()
    check_store(tmp_path / 'store')
    summary = json.loads((run / 'summary.json').read_text())
    assert list(summary['stages']) == ['warm_up', 'self_improving']
    assert summary['synthetic']['samples'] == SOURCES * COPIES
    assert iterations(run) == ITERATIONS
