"""How soon the page of tools/browse.py shows a large store, and whether it scrolls.

    python benchmarks/browse_page.py --samples 100000 --folder /tmp

Made up is a store of label maps on 512 x 384 pixels, whose files are hard links of a few, as in benchmarks/store.py; it
is removed at the end. The program is started as a person starts it, twice: the first start makes the store's index.
With Playwright and a Chromium (`pip install playwright`, and `playwright install chromium` or the system's own) a
browser opens the page, jumps about and goes to its end; without, requests are sent as the page sends them.
"""

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import psutil
from store import lay_down, record_of, sample

import diff2in1_mm  # noqa: F401  (registers all modules)
from diff2in1_mm.store.store import SyntheticStore

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ('road', 'sky', 'tree', 'car', 'person')
JUMPS = 20
PATIENCE = 120  # seconds until a picture of the browser counts as never drawn
# what a person waits for: rows inside the list, and their pictures
ROWS = "[...document.querySelectorAll('.row')]"
DRAWN = f'{ROWS}.some((row) => row.getBoundingClientRect().bottom > list.getBoundingClientRect().top)'
PICTURES = '[...document.images].length > 0 && [...document.images].every((i) => i.complete && i.naturalWidth > 0)'


def make(root: Path, samples: int) -> None:
    """A store of so many samples, each with five classes in stripes."""
    image = sample(0)[0][:384]
    stripes = np.repeat(np.arange(len(CLASSES), dtype=np.uint8), 103)[: image.shape[1]]
    labels = np.broadcast_to(stripes, image.shape[:2])
    cv2.imwrite(str(root / 'source.jpg'), image[..., ::-1])
    record = record_of(0)
    record.source_path, record.classes = str(root / 'source.jpg'), dict.fromkeys(CLASSES, 0.2)
    store = SyntheticStore.prepare(root / 'store', ['segmentation'], CLASSES, 'benchmark', {})
    lay_down(store, samples, (record, image, dict(segmentation=labels)))


@contextmanager
def program(store: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """tools/browse.py of a store: its address, its process, and seconds until it said the address."""
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / 'tools/browse.py'), str(store), '--no-browser']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.search(r'http://\S+', line) for line in process.stdout)))
            yield found[0], psutil.Process(process.pid), time.perf_counter() - start
        finally:
            process.terminate()


def timed(function: Callable, *args: Any) -> tuple[float, Any]:
    """Seconds that a call took, and what it gave."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def asked(address: str, path: str) -> Any:
    """The answer to a request, as JSON where it is some."""
    with urlopen(address + path, timeout=PATIENCE) as answer:
        content = answer.read()
        return json.loads(content) if answer.headers['Content-Type'] == 'application/json' else content


def until_read(address: str) -> float:
    """Seconds until all records have been read."""
    start = time.perf_counter()
    while (summary := asked(address, 'summary'))['measured'] < summary['samples']:
        time.sleep(0.1)
    return time.perf_counter() - start


def requests(address: str, process: psutil.Process, samples: int) -> None:
    """What the page asks for, in its order, and choices when all has been read."""
    page = sum(timed(asked, address, name)[0] for name in ('', 'page.js', 'page.css', 'summary'))
    first, answer = timed(asked, address, 'samples?offset=0&count=50')
    assert answer['total'] == samples and len(answer['rows']) == 50
    last, answer = timed(asked, address, f'samples?offset={samples - 50}&count=50')
    assert len(answer['rows']) == 50
    picture = timed(asked, address, f'picture/{answer["rows"][0]["id"]}/label%20segmentation')[0]
    print(f'page {page:.3f} s, its first 50 samples {first:.3f} s, the last 50 {last:.3f} s, a label {picture:.3f} s')
    print(f'memory {process.memory_info().rss / 2**20:.0f} MB; ', end='', flush=True)
    seconds = until_read(address)
    print(f'all records read {seconds:.1f} s later, memory {process.memory_info().rss / 2**20:.0f} MB')
    for name in ('sort=confidence', 'shows=sky', 'figure=confidence&least=0.5', 'verdict=open'):
        print(f'  {name} {timed(asked, address, f"samples?{name}&count=50")[0]:.3f} s')


def browsed(address: str, samples: int, chromium: Any) -> None:
    """What a person sees in a browser that has just been opened."""
    page = chromium.new_page(viewport=dict(width=1280, height=800))

    def until(expression: str) -> None:
        end = time.perf_counter() + PATIENCE
        while not page.evaluate(expression):
            if time.perf_counter() > end:
                raise TimeoutError(expression)
            page.wait_for_timeout(10)

    start = time.perf_counter()
    page.goto(address)
    until(DRAWN)
    drawn = time.perf_counter() - start
    until(PICTURES)
    print(f'browser: first samples after {drawn:.2f} s, with pictures {time.perf_counter() - start:.2f} s')
    end = timed(lambda: (page.keyboard.press('End'), until(f'{DRAWN} && chosen === {samples - 1} && rowAt(chosen)')))[0]
    print(f'  the last samples {end:.2f} s after End', flush=True)
    random.seed(0)
    jumps = []
    for _ in range(JUMPS):
        place = random.random()
        at = f'list.scrollTop = {place} * (list.scrollHeight - list.clientHeight)'
        there = f'{DRAWN} && rowAt(Math.floor(atTop())) !== undefined && rowAt(Math.floor(atTop())) !== null'
        jumps.append(timed(lambda at=at, there=there: (page.evaluate(at), until(there)))[0])
    print(f'  {JUMPS} jumps: median {statistics.median(jumps):.2f} s, longest {max(jumps):.2f} s')
    until('summary.read === summary.samples')
    page.evaluate(WHEEL)
    until('window.frames_done === true')
    gaps = sorted(page.evaluate('window.gaps'))
    slow = gaps[len(gaps) * 99 // 100]
    print(f'  scrolling: a frame in {statistics.median(gaps):.0f} ms, the slowest of a hundred {slow:.0f} ms')
    page.close()


# three hundred frames of scrolling by a third of the window, and the time between them
WHEEL = """(() => {
  window.gaps = []; window.frames_done = false; list.scrollTop = 0;
  let last = performance.now();
  const step = (now) => {
    window.gaps.push(now - last); last = now;
    list.scrollTop += list.clientHeight / 3;
    if (window.gaps.length < 300) requestAnimationFrame(step); else window.frames_done = true;
  };
  requestAnimationFrame(step);
})()"""


def with_browser(address: str, samples: int) -> None:
    """:func:`browsed` where there is a browser, else a line that says what is wanted."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("browser: none; pip install 'diff2in1_mm[browser]' for its figures")
        return
    own = next(filter(None, map(shutil.which, ('chromium-headless-shell', 'chromium', 'google-chrome'))), None)
    with sync_playwright() as library:
        try:
            chromium = library.chromium.launch(executable_path=own, args=['--no-sandbox'])
        except Error:
            print('browser: Playwright has none; playwright install chromium, or apt-get install chromium')
            return
        browsed(address, samples, chromium)
        chromium.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=100_000)
    parser.add_argument('--folder', help='where the store is made; default: the folder of temporary files')
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        print(f'store of {args.samples} samples made in {timed(make, root, args.samples)[0]:.0f} s')
        with program(root / 'store') as (_, _, seconds):
            print(f'first start, which makes the index: address after {seconds:.1f} s')
        with program(root / 'store') as (address, process, seconds):
            print(f'second start: address after {seconds:.1f} s')
            requests(address, process, args.samples)
        with program(root / 'store') as (address, process, _):
            with_browser(address, args.samples)
    finally:
        shutil.rmtree(root)


if __name__ == '__main__':
    main()
