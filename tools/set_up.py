"""Sets the project up on a fresh machine: ``make`` calls it, and it can be run by hand.

It makes ``.venv`` in the checkout, installs torch, builds mmcv with its compiled operators once
(the wheel is kept in ``~/.cache/diff2in1_mm/wheels`` for other checkouts) and installs the project
in editable mode. Where nothing has changed since the last time it returns at once.

Only the standard library is used: nothing else is there yet.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_PYTHON = (3, 10)
TORCH = 'torch==2.13.0'
MMCV = '2.1.0'
EXTRAS = 'seg,det,demo,eval,dev'
BUILD_TOOLS = ['pip', 'setuptools>=77.0.3,<80', 'wheel', 'ninja', 'psutil', 'packaging']
JOB_MEMORY = 2  # GiB that one compiler process may take
COMPILED = re.compile(r'^\s*\[(\d+)/(\d+)\]')  # ninja's count of files

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


class SetUpError(Exception):
    """What failed and what to do, in one sentence."""


def parse_args():
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--venv', default=str(ROOT / '.venv'), help='the environment to make')
    parser.add_argument(
        '--torch',
        default=env('TORCH') or TORCH,
        help="what pip installs as torch, or 'system' to use the one that this Python has (also by the variable TORCH)",
    )
    parser.add_argument('--mmcv', default=env('MMCV') or MMCV, help='version (variable MMCV)')
    parser.add_argument(
        '--ops',
        default=env('OPS') or 'auto',
        choices=['auto', 'cpu', 'cuda'],
        help='mmcv operators; auto: CUDA where a GPU and nvcc are there (variable OPS)',
    )
    parser.add_argument('--force', action='store_true', help='go through all steps again')
    return parser.parse_args()


def say(message):
    print(message, flush=True)


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


def make_venv(folder, system):
    """Makes the environment unless it is there; returns its Python."""
    python = folder / 'bin' / 'python'
    if ask(python, 'import pip') is not None if python.exists() else False:
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


def pip_install(python, what, *packages):
    """``pip install``, with pip's own progress bars where somebody watches."""
    quiet = [] if sys.stdout.isatty() else ['-qq']  # errors only
    say('set-up: installing {}'.format(what))
    run(
        [python, '-m', 'pip', 'install', '--disable-pip-version-check'] + quiet + list(packages),
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
            'TORCH={}.'.format(python, sys.executable, TORCH)
        )
    return json.loads(facts)


# ---- mmcv with its operators -----------------------------------------------------------------


def choose_ops(wanted, facts):
    """'cpu' or 'cuda': CUDA operators need a GPU (or FORCE_CUDA=1) and nvcc of torch's CUDA."""
    forced = os.environ.get('FORCE_CUDA') == '1'
    if wanted == 'cpu' or facts['cuda'] is None or not (facts['gpu'] or forced or wanted == 'cuda'):
        if wanted == 'cuda':
            raise SetUpError(
                'CUDA operators were asked for, but torch {} is a CPU build: name a CUDA build by TORCH=.'.format(
                    facts['torch']
                )
            )
        return 'cpu'
    if facts['nvcc'] is None:
        if wanted == 'cuda' or forced:
            raise SetUpError(
                'CUDA operators were asked for, but there is no nvcc: install the '
                'CUDA toolkit {} and set CUDA_HOME.'.format(facts['cuda'])
            )
        say(
            'set-up: a GPU but no nvcc: mmcv gets CPU operators only (enough for segmentation; '
            'for detectors install the CUDA toolkit {})'.format(facts['cuda'])
        )
        return 'cpu'
    return 'cuda'


def wheel_key(facts, mmcv, ops):
    """Name of the cache folder: everything that a built wheel depends on."""
    python = 'cp{}{}'.format(*sys.version_info[:2])
    if ops == 'cuda':
        arch = os.environ.get('TORCH_CUDA_ARCH_LIST') or facts['arch'] or 'any'
        ops = 'cuda{}-{}'.format(facts['cuda'], re.sub(r'[^\w.+]+', '_', arch))
    return '-'.join(['mmcv' + mmcv, python, platform.machine(), 'torch' + facts['torch'], ops])


def cache_folder():
    home = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return Path(home) / 'diff2in1_mm' / 'wheels'


def cached_wheel(folder):
    return next(iter(sorted(folder.glob('mmcv-*.whl'))), None)


def install_mmcv(python, facts, version, wanted):
    """Installs mmcv with operators that load, from the cache; builds the wheel if need be."""
    ops = choose_ops(wanted, facts)
    if ask(python, OPS_PROBE) == '{} {}'.format(version, ops):
        return
    folder = cache_folder() / wheel_key(facts, version, ops)
    wheel = cached_wheel(folder) or build_wheel(python, folder, version, ops)
    pip_install(python, wheel.name, '--force-reinstall', '--no-deps', wheel)
    pip_install(python, 'what mmcv needs', wheel)
    if ask(python, OPS_PROBE) is None:
        raise SetUpError(
            'The operators of mmcv do not load: remove {} and run the same command again to build them anew.'.format(
                folder
            )
        )


@contextlib.contextmanager
def only_one_builder(folder):
    """Holds a lock that the system releases when its holder dies, however it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('set-up: another set-up builds the same wheel, waiting for it')
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_wheel(python, folder, version, ops):
    """Builds mmcv's wheel into the cache folder.

    The wheel gets its place by a rename after everything else, so a killed build leaves nothing
    that could be taken for a wheel.
    """
    check_compiler()
    with only_one_builder(folder):
        wheel = cached_wheel(folder)
        if wheel:
            return wheel
        for old in folder.glob('building-*'):  # of a build that was killed: it holds no lock
            shutil.rmtree(str(old), ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix='building-', dir=str(folder)) as building:
            compile_wheel(python, Path(building), folder / 'build.log', version, ops)
            built = cached_wheel(Path(building))
            os.replace(str(built), str(folder / built.name))
    return folder / built.name


def check_compiler():
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler) is None:
        raise SetUpError(
            'mmcv must be compiled and there is no C++ compiler {!r}: install one '
            '(on Debian and Ubuntu the package build-essential).'.format(compiler)
        )
    if not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
        raise SetUpError(
            'mmcv must be compiled and the headers of {} are missing: install them '
            '(on Debian and Ubuntu the package python{}.{}-dev).'.format(sys.executable, *sys.version_info[:2])
        )


def build_environment(python, building, ops):
    env = dict(os.environ)
    env['PATH'] = str(python.parent) + os.pathsep + env.get('PATH', '')  # ninja lies there
    env['TMPDIR'] = str(building)
    env.setdefault('CFLAGS', '-g0')  # debug information doubles the time
    env['MAX_JOBS'] = str(jobs())
    env['MMCV_WITH_OPS'] = '1'
    if ops == 'cuda':
        env['FORCE_CUDA'] = '1'
    else:  # mmcv's setup takes any GPU that it sees for a wish
        env.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    return env


def jobs():
    """Compilers at a time: MAX_JOBS, or as many as there are cores and the memory holds."""
    if os.environ.get('MAX_JOBS', '').isdigit():
        return max(1, int(os.environ['MAX_JOBS']))
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(memory / JOB_MEMORY)))


def compile_wheel(python, building, log, version, ops):
    say(
        'set-up: building mmcv {} with {} operators, {} files at a time; this is done once and '
        'takes minutes (log: {})'.format(version, ops.upper(), jobs(), log)
    )
    command = [
        str(python),
        '-m',
        'pip',
        'wheel',
        '-v',
        '--no-deps',
        '--no-build-isolation',
        '--no-cache-dir',
        '--no-binary',
        'mmcv',
        '--disable-pip-version-check',
        '--wheel-dir',
        str(building),
        'mmcv==' + version,
    ]
    # a session of its own, so that a stop takes the compilers along
    build = subprocess.Popen(
        command,
        env=build_environment(python, building, ops),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        follow(build.stdout, log)
        if build.wait() or cached_wheel(building) is None:
            raise SetUpError(
                'mmcv {} did not build; the last errors are above and everything is in {}: {}.'.format(
                    version, log, advice(log, ops)
                )
            )
    finally:
        stop(build)


def stop(build):
    """Ends a build that still runs: politely, since only ninja reaches its compilers."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if build.poll() is not None:
            return
        os.killpg(build.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            build.wait(timeout=10)


def follow(lines, log):
    """Copies the build's output to the log and shows how far it is."""
    start = time.time()
    with open(log, 'wb') as file:
        for line in lines:
            file.write(line)
            match = COMPILED.match(line.decode(errors='replace'))
            if match:
                show_progress(int(match.group(1)), int(match.group(2)), time.time() - start)


def show_progress(done, total, seconds):
    text = '  {:3d} of {} files, {:.0f} min {:02.0f} s'.format(done, total, seconds // 60, seconds % 60)
    if sys.stdout.isatty():
        bar = '#' * (40 * done // total)
        print('\r  [{:40s}]{}'.format(bar, text), end='\n' if done == total else '', flush=True)
    elif done % 7 == 0 or done in (1, total):
        say(text)


def advice(log, ops):
    """Shows the errors of a failed build and returns what may help."""
    text = log.read_text(errors='replace')
    errors = [line for line in text.splitlines() if re.search(r'\berror\b', line, re.I)]
    print('\n'.join(line[:300] for line in errors[:10]), file=sys.stderr)
    if 'No matching distribution' in text or 'Could not find a version' in text:
        return 'the package index has no such release or cannot be reached'
    if 'Killed' in text or 'Cannot allocate memory' in text:
        return 'memory ran out, try MAX_JOBS=1'
    if ops == 'cuda':
        return (
            'nvcc must have the CUDA version of torch (set CUDA_HOME); with OPS=cpu '
            'segmentation works without CUDA operators'
        )
    return 'it needs g++ 9 or later'


# ---- all of it -------------------------------------------------------------------------------


def stamp_of(args):
    """What the environment is made from: the same stamp needs no work."""
    parts = [str(ROOT), args.torch, args.mmcv, args.ops, sys.version]
    digest = hashlib.sha256('\n'.join(parts).encode())
    for file in (ROOT / 'setup.py', Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def set_up(args):
    if sys.version_info < MINIMUM_PYTHON:
        raise SetUpError(
            '{} is Python {}.{}, and {}.{} or later is needed: name one by PYTHON=python3.11.'.format(
                sys.executable, *sys.version_info[:2], *MINIMUM_PYTHON
            )
        )
    venv = Path(args.venv).resolve()
    stamp = venv / 'diff2in1_mm.stamp'
    if not args.force and stamp.exists() and stamp.read_text() == stamp_of(args):
        return
    python = make_venv(venv, system=args.torch == 'system')
    pip_install(python, 'build tools', '--upgrade', *BUILD_TOOLS)
    facts = install_torch(python, args.torch)
    install_mmcv(python, facts, args.mmcv, args.ops)
    pip_install(
        python, 'the project with [{}]'.format(EXTRAS), '--no-build-isolation', '--editable', '.[{}]'.format(EXTRAS)
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
