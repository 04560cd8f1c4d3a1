"""What `import diff2in1_mm` adds to the imports of a run of MMSegmentation, and what comes before `make train` learns.

    python benchmarks/start_up.py

Seconds are processor time of new processes that take turns, after one of each that is not counted (it renders Rooms).
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

TRAIN = Path(__file__).parents[1] / 'tools/train.py'
BARE = 'import torch, mmengine, mmseg'
RUN = f'{BARE}, mmseg.models, mmseg.datasets'  # which bring MMDetection where it is installed
# `make train`, until its first iteration is done
FIRST = f"""
import os, runpy, sys
from mmengine.hooks import IterTimerHook
IterTimerHook._after_iter = lambda *args, **kwargs: os._exit(0)
sys.argv = ['train.py', 'diff2in1_rooms.py', '--work-dir', 'work_dirs/start_up']
sys.path.insert(0, {str(TRAIN.parent)!r})
runpy.run_path({str(TRAIN)!r}, run_name='__main__')
"""
CASES = {'bare': BARE, 'run': RUN, 'ours': 'import diff2in1_mm', 'first': FIRST}


def processor_seconds(code: str) -> float:
    """Of a new interpreter that runs ``code``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=5, help='processes of each kind (default: %(default)s)')
    args = parser.parse_args()
    seconds: dict = {name: [] for name in CASES}
    for turn in range(args.rounds + 1):
        for name, code in CASES.items():
            spent = processor_seconds(code)
            if turn:  # the first reads the files
                seconds[name].append(spent)
    bare, run, ours, first = (statistics.median(each) for each in seconds.values())
    print(f'torch, MMEngine and mmseg alone: {bare:.1f} s')
    print(f"with mmseg's models and data sets, as every run: {run:.1f} s")
    print(
        f'import diff2in1_mm: {ours:.1f} s, {ours / run:.2f} x a run of MMSegmentation, {ours / bare:.2f} x mmseg alone'
    )
    print(f'tools/train.py diff2in1_rooms.py to the end of its first iteration: {first:.1f} s, {first / ours:.2f} x')


if __name__ == '__main__':
    main()
