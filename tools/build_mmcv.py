"""Builds mmcv with its compiled operators, once; ``set_up.py`` calls it.

The wheel is kept in ``~/.cache/diff2in1_mm/wheels`` for other checkouts. Only the standard library is used.
"""

import contextlib
import fcntl
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

JOB_MEMORY = 2  # GiB that one compiler process may take
COMPILED = re.compile(r'^\s*\[(\d+)/(\d+)\]')  # ninja's count of files


class SetUpError(Exception):
    """What failed and what to do, in one sentence."""


def say(message):
    print(message, flush=True)


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


def wheel_key(facts, spec, ops):
    """Name of the cache folder: everything that a built wheel depends on."""
    python = 'cp{}{}'.format(*sys.version_info[:2])
    if ops == 'cuda':
        arch = os.environ.get('TORCH_CUDA_ARCH_LIST') or facts['arch'] or 'any'
        ops = 'cuda{}-{}'.format(facts['cuda'], re.sub(r'[^\w.+]+', '_', arch))
    return '-'.join([spec.replace('==', ''), python, platform.machine(), 'torch' + facts['torch'], ops])


def cache_folder():
    home = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return Path(home) / 'diff2in1_mm' / 'wheels'


def cached_wheel(folder):
    return next(iter(sorted(folder.glob('*mmcv-*.whl'))), None)


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


def build_wheel(python, folder, spec, ops):
    """Builds the wheel of mmcv (``mmcv==2.1.0``) or of its fork (``onedl-mmcv==2.3.6``) into the cache folder.

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
            compile_wheel(python, Path(building), folder / 'build.log', spec, ops)
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


def compile_wheel(python, building, log, spec, ops):
    say(
        'set-up: building {} with {} operators, {} files at a time; this is done once and '
        'takes minutes (log: {})'.format(spec, ops.upper(), jobs(), log)
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
        spec.partition('==')[0],
        '--disable-pip-version-check',
        '--wheel-dir',
        str(building),
        spec,
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
                '{} did not build; the last errors are above and everything is in {}: {}.'.format(
                    spec, log, advice(log, ops)
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
