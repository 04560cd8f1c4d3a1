"""The commands of an installed package, and what their command lines have in common.

``diff2in1-train CONFIG`` is ``python tools/train.py CONFIG`` without a checkout. Under several processes:
``torchrun --nproc_per_node=2 $(which diff2in1-train) CONFIG --launcher pytorch``.

This stands beside the package, and imports the standard library alone: ``import diff2in1_mm`` takes seconds, which
``--help`` and a misspelt option are not to wait for. So scripts read their command line first and import afterwards.
"""

import argparse
import os.path as osp
import re
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

#: command -> the script that it runs
SCRIPTS = {
    'diff2in1-train': 'tools/train.py',
    'diff2in1-test': 'tools/test.py',
    'diff2in1-create-data': 'tools/create_data.py',
    'diff2in1-does-it-help': 'tools/does_it_help.py',
    'diff2in1-train-diffusion': 'tools/train_diffusion.py',
    'diff2in1-browse': 'tools/browse.py',
    'diff2in1-evaluate-synthetic': 'tools/evaluate_synthetic.py',
    'diff2in1-switch-in': 'tools/switch_in.py',
    'diff2in1-convert-checkpoint': 'tools/convert_checkpoint.py',
    'diff2in1-prepare-data': 'tools/prepare_data.py',
    'diff2in1-diffusion-info': 'tools/diffusion_info.py',
    'diff2in1-store': 'tools/store.py',
    'diff2in1-demo': 'demo/image_demo.py',
}
#: of ``PartialNoiseGenerator``
SOLVERS = ('dpmsolver++', 'ddim', 'euler')

_called: str | None = None  # the command that this process runs; None: a script by its path


def _run(command: str) -> None:
    global _called
    beside = Path(__file__).resolve().parent
    shipped = beside / 'diff2in1_mm' / '.mim'  # as `diff2in1_mm.utils.resources` looks for it
    _called = command
    try:
        runpy.run_path(str((shipped if shipped.is_dir() else beside) / SCRIPTS[command]), run_name='__main__')
    finally:
        _called = None


def __getattr__(name: str) -> Any:
    """``train`` is what ``diff2in1-train`` calls, and so on for every command."""
    command = 'diff2in1-' + name.replace('_', '-')
    if command not in SCRIPTS:
        raise AttributeError(f'{__name__} has no {name!r}')
    return partial(_run, command)


def program() -> str:
    """What the user called: the command, or the file name of the script."""
    return _called or osp.basename(sys.argv[0])


def as_called(text: str) -> str:
    """A text that names scripts and configs of a checkout, as it is true for who called an installed command.

    Args:
        text (str): Such as 'python tools/train.py configs/a.py'; then 'diff2in1-train a.py'.
    """
    if _called is None:
        return text
    for command, script in SCRIPTS.items():
        text = re.sub(rf'(torchrun\b[^\n]* ){script}', rf'\1$(which {command})', text)
        text = re.sub(rf'(python )?\b{script}', command, text)
    return re.sub(r'\bconfigs/(\w+\.py)', r'\1', text)


def new_parser(doc: str | None, examples: str = '') -> argparse.ArgumentParser:
    """A parser that keeps the lines of both texts.

    Args:
        doc (str | None): What the command does.
        examples (str): Shown below the options.
    """
    return argparse.ArgumentParser(
        prog=program(),
        description=as_called(doc or ''),
        epilog=as_called(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def stop(error: Exception | str) -> NoReturn:
    """Ends the program with ``PROGRAM: SENTENCE`` and status 2."""
    print(f'{program()}: {as_called(str(error))}', file=sys.stderr)
    raise SystemExit(2)


class Settings(argparse.Action):
    """MMEngine's ``DictAction``, imported when there is something to read."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            key, equals, _ = value.partition('=')
            if not (equals and all(key.split('.'))):
                stop(f'--cfg-options {value}: write KEY=VALUE, lists as KEY="[a,b]" without spaces')
        from mmengine.config import DictAction

        import diff2in1_mm  # noqa: F401  (says what is not installed)

        action: Any = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        try:
            action(parser, namespace, values, option_string)
        except AssertionError as error:
            stop(f'--cfg-options {" ".join(values)}: {error}: close them, as in KEY="[a,b]"')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``, as MMEngine reads them."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        help='override settings: key=value, nested keys with dots (optim_wrapper.optimizer.lr=1e-4), items of lists by '
        'number (custom_hooks.0.warm_up=400), lists as key="[a,b]" without spaces',
    )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that MMSegmentation's and MMDetection's own tools have in common."""
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes are started; with torchrun: pytorch',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
