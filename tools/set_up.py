"""Sets the project up on a fresh machine: ``make`` calls it, and it can be run by hand.

It makes ``.venv`` in the checkout, installs torch, installs mmcv with its compiled operators (a prebuilt wheel
where pip finds one, else ``build_mmcv.py`` compiles one) and installs the project in editable mode. Versions are those
of a file in ``requirements``. Where nothing has changed since the last time it returns at once.

Only the standard library is used: nothing else is there yet.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from build_mmcv import SetUpError, build_wheel, cache_folder, cached_wheel, choose_ops, say, wheel_key

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_PYTHON = (3, 10)
STACKS = ('default', 'oldest', 'newest', 'onedl')  # files of the folder requirements
EXTRAS = {'onedl': 'onedl,demo,eval,lora,dev'}
STOCK_EXTRAS = 'seg,det,demo,eval,lora,browser,dev'
STAMP = 'diff2in1_mm.stamp'
BUILD_TOOLS = ['pip', 'setuptools>=77.0.3', 'wheel', 'ninja', 'psutil', 'packaging']

PROBE = """
import json, torch
from torch.utils import cpp_extension
gpu = torch.cuda.is_available()
print(json.dumps(dict(
    torch=torch.__version__, cuda=torch.version.cuda, gpu=gpu, nvcc=cpp_extension.CUDA_HOME,
    arch='sm%d%d' % torch.cuda.get_device_capability() if gpu else None)))
"""
OPS_PROBE = """
import torch, mmcv._ext
from mmcv.ops import get_compiling_cuda_version
print(mmcv.__version__, 'cpu' if 'not' in get_compiling_cuda_version() else 'cuda')
"""


def parse_args():
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--stack',
        default=env('STACK') or 'default',
        choices=STACKS,
        help='versions, by a file of the folder requirements (variable STACK)',
    )
    parser.add_argument('--venv', default=str(ROOT / '.venv'), help='the environment to make')
    parser.add_argument(
        '--torch',
        default=env('TORCH'),
        help="what pip installs as torch, or 'system' to use the one that this Python has (variable TORCH)",
    )
    parser.add_argument('--mmcv', default=env('MMCV'), help='version (variable MMCV)')
    parser.add_argument(
        '--mmcv-index', default=env('MMCV_INDEX'), help='page of prebuilt wheels of mmcv (variable MMCV_INDEX)'
    )
    parser.add_argument(
        '--ops',
        default=env('OPS') or 'auto',
        choices=['auto', 'cpu', 'cuda', 'ready', 'none'],
        help='mmcv operators; auto: CUDA where a GPU and nvcc are there; ready: none where they would have to be '
        'compiled (variable OPS)',
    )
    parser.add_argument('--force', action='store_true', help='go through all steps again')
    args = parser.parse_args()
    pins = pins_of(args.stack)
    args.torch = args.torch or 'torch==' + pins['torch']
    name = 'onedl-mmcv' if 'onedl-mmcv' in pins else 'mmcv'
    args.mmcv = '{}=={}'.format(name, args.mmcv or pins[name])
    return args


def pins_of(stack):
    """Versions that a file of constraints gives, by name."""
    return dict(re.findall(r'^([\w-]+)==([\w.]+)', requirements(stack).read_text(), re.M))


def requirements(stack):
    return ROOT / 'requirements' / (stack + '.txt')


def run(command, failure, **kwargs):
    """Runs a command; its output goes to the terminal.

    Raises:
        SetUpError: It failed.
    """
    try:
        subprocess.run([str(c) for c in command], check=True, **kwargs)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetUpError(failure) from error


def ask(python, code):
    """Output of a piece of code in the environment, None if it fails."""
    answer = subprocess.run(
        [str(python), '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=str(ROOT.anchor)
    )
    return answer.stdout.decode().strip() if answer.returncode == 0 else None


# ---- the environment -------------------------------------------------------------------------


def make_venv(folder, stack, system):
    """Makes the environment unless it is there; returns its Python."""
    python, stamp = folder / 'bin' / 'python', folder / STAMP
    if python.exists() and ask(python, 'import pip') is not None:
        made_for = stamp.read_text().partition(' ')[0] if stamp.exists() else stack
        if made_for not in STACKS or made_for == stack:
            return python
    say('set-up: making {}'.format(folder))
    options = ['--clear'] + (['--system-site-packages'] if system else [])
    run(
        [sys.executable, '-m', 'venv'] + options + [folder],
        'The environment {} could not be made with {}: install the venv module of this Python '
        '(on Debian and Ubuntu the package python3-venv), or name another one by '
        'PYTHON=.'.format(folder, sys.executable),
    )
    return python


def write_constraints(venv, stack):
    """The stack's versions but for torch and mmcv, which have options of their own; returns the file."""
    file = venv / 'constraints.txt'
    lines = requirements(stack).read_text().splitlines()
    file.write_text('\n'.join(line for line in lines if not re.match(r'(torch|mmcv|onedl-mmcv)==', line)) + '\n')
    return file


def pip_install(python, what, *packages):
    """``pip install``, with pip's own progress bars where somebody watches."""
    options = [] if sys.stdout.isatty() else ['-qq']  # errors only
    if not sys.dont_write_bytecode:  # a run compiles the part that it imports, and keeps that
        options += ['--no-compile']
    constraints = Path(python).parent.parent / 'constraints.txt'
    options += ['-c', constraints] if constraints.exists() else []
    say('set-up: installing {}'.format(what))
    run(
        [python, '-m', 'pip', 'install', '--disable-pip-version-check'] + options + list(packages),
        'Installing {} failed, pip says above why: mostly the package index cannot be reached, '
        'or has no release for Python {}.{}; mend it and run the same command again.'.format(
            what, *sys.version_info[:2]
        ),
        cwd=str(ROOT),
    )


def install_torch(python, spec):
    if spec != 'system':
        pip_install(python, spec, spec)
    facts = ask(python, PROBE)
    if facts is None:
        raise SetUpError(
            'torch cannot be imported in {}: install it into {} for TORCH=system, '
            'or name a release that fits this machine, as '
            'TORCH=torch=={}.'.format(python, sys.executable, pins_of('default')['torch'])
        )
    return json.loads(facts)


# ---- mmcv with its operators, or without ------------------------------------------------------


def install_mmcv(python, facts, spec, wanted, index):
    """Installs mmcv with operators that load: those here, a cached or prebuilt wheel, or a new build.

    Without operators it is installed where none are wanted ('none'), or none of the former is there and
    nothing is to be compiled ('ready').
    """
    name, _, version = spec.partition('==')
    ops = choose_ops('auto' if wanted in ('none', 'ready') else wanted, facts)
    here = ask(python, OPS_PROBE) or ''
    if here in ('{} {}'.format(version, ops), version + ' cuda') and wanted != 'none':
        return
    folder = cache_folder() / wheel_key(facts, spec, ops)
    remove_other_builds(python, name, wanted)
    wheel = None if wanted == 'none' else cached_wheel(folder)
    if wheel is None and wanted != 'none' and install_prebuilt(python, spec, index):
        return
    if wheel is None and wanted in ('none', 'ready'):
        return install_without_operators(python, name, version)
    wheel = wheel or build_wheel(python, folder, spec, ops)
    pip_install(python, wheel.name, '--force-reinstall', '--no-deps', wheel)
    pip_install(python, 'what mmcv needs', wheel)
    if ask(python, OPS_PROBE) is None:
        raise SetUpError(
            'The operators of mmcv do not load: remove {} and run the same command again to build them anew.'.format(
                folder
            )
        )


def remove_other_builds(python, name, wanted):
    """Takes away what brings the same import name: pip would leave a mixture of files."""
    others = {'mmcv', 'mmcv-lite', 'onedl-mmcv'} - (set() if wanted == 'none' else {name})
    names = 'import importlib.metadata as m; print(*{d.metadata["Name"].lower() for d in m.distributions()})'
    others &= set((ask(python, names) or '').split())
    if others:
        run([python, '-m', 'pip', 'uninstall', '-q', '-y'] + sorted(others), 'The former mmcv could not be removed.')


def install_prebuilt(python, spec, index):
    """Whether pip has found a wheel of this mmcv, for this Python, with operators that load."""
    options = ['-f', index] if index else []
    found = subprocess.run(
        [str(python), '-m', 'pip', 'install', '-qq', '--no-deps', '--only-binary', ':all:'] + options + [spec],
        stderr=subprocess.DEVNULL,
    )
    if found.returncode == 0 and ask(python, OPS_PROBE) is not None:
        pip_install(python, 'what mmcv needs', spec)
        return True
    if index:
        say('set-up: {} has no wheel of {} whose operators load here'.format(index, spec))
    return False


def install_without_operators(python, name, version):
    """mmcv-lite; the fork has no such release, and builds none where torch is out of sight."""
    say('set-up: mmcv without operators, enough for segmentation; `make set-up` compiles them for detectors')
    pip_install(python, 'mmcv', '{}=={}'.format('mmcv-lite' if name == 'mmcv' else name, version))


# ---- all of it -------------------------------------------------------------------------------


def stamp_of(args, ops=None):
    """What the environment is made from: the same stamp needs no work."""
    parts = [str(ROOT), args.torch, args.mmcv, ops or args.ops, args.mmcv_index or '', sys.version]
    digest = hashlib.sha256('\n'.join(parts).encode())
    for file in (ROOT / 'setup.py', requirements(args.stack), Path(__file__)):
        digest.update(file.read_bytes())
    return args.stack + ' ' + digest.hexdigest()


def set_up(args):
    if sys.version_info < MINIMUM_PYTHON:
        raise SetUpError(
            '{} is Python {}.{}, and {}.{} or later is needed: name one by PYTHON=python3.11.'.format(
                sys.executable, *sys.version_info[:2], *MINIMUM_PYTHON
            )
        )
    venv = Path(args.venv).resolve()
    stamp, enough = venv / STAMP, [stamp_of(args)]
    if args.ops == 'ready':
        enough.append(stamp_of(args, 'auto'))  # has more
    if not args.force and stamp.exists() and stamp.read_text() in enough:
        return
    python = make_venv(venv, args.stack, system=args.torch == 'system')
    write_constraints(venv, args.stack)
    extras = EXTRAS.get(args.stack, STOCK_EXTRAS)
    pip_install(python, 'build tools', '--upgrade', *BUILD_TOOLS)
    facts = install_torch(python, args.torch)
    install_mmcv(python, facts, args.mmcv, args.ops, args.mmcv_index)
    pip_install(
        python, 'the project with [{}]'.format(extras), '--no-build-isolation', '--editable', '.[{}]'.format(extras)
    )
    run(
        [python, '-c', 'import diff2in1_mm'],
        'Everything is installed but the package cannot be imported: see the words above.',
        cwd=ROOT.anchor,
    )
    temporary = stamp.with_suffix('.new')
    temporary.write_text(stamp_of(args))
    os.replace(str(temporary), str(stamp))
    say('set-up: done, `source {}/bin/activate` to use it'.format(os.path.relpath(str(venv))))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` is reached
    try:
        set_up(parse_args())
    except SetUpError as error:
        sys.exit('set-up failed: {}'.format(error))
    except KeyboardInterrupt:
        sys.exit('set-up was stopped; the same command goes on with it.')


if __name__ == '__main__':
    main()
