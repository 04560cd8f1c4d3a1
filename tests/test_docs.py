"""Links of README and pages lead somewhere, and what they name is there."""

import doctest
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from diff2in1_mm.creation import PartialNoiseGenerator
from diff2in1_mm.models import DiffusionBackbone
from diff2in1_mm.store import SyntheticStore

from .test_store.samples import PURPOSE, make_record, make_sample

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    text = re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.M | re.S)
    titles = re.findall(r'^#+ +(.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def dead_links(page: Path) -> list[str]:
    """Relative links of a page to a file or a heading that is not there."""
    dead = []
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
        if re.match(r'\w+:', link):
            continue
        name, _, anchor = link.partition('#')
        target = page.parent / name if name else page
        if not target.exists() or anchor and anchor not in anchors(target):
            dead.append(link)
    return dead


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# A `b` c\n[x](#a-b-c) [y](#d) [z](gone.md) [w](https://a.b/c) [self](page.md#a-b-c)\n')
    assert dead_links(page) == ['#d', 'gone.md']


def test_the_first_page_is_short_and_names_every_other():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(readme.splitlines()) < 150
    assert [page.name for page in PAGES[1:] if f'(docs/{page.name}' not in readme] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_folders_and_configs_that_a_page_names_are_there(page):
    text = page.read_text(encoding='utf-8')
    if page.name == 'architecture.md':  # it says where things were before, too
        text = text.partition('Module paths of before')[0]
    text = re.sub(r'\bdiff2in1_mm/rooms\b[\w/]*', '', text)  # the name of the shipped diffusion model
    named = re.findall(r'\b((?:diff2in1_mm|configs|tools|demo|benchmarks|tests)/[\w/]+(?:\.\w+)?)', text)
    gone = [name for name in named if not (ROOT / name).exists()]
    assert gone == []


@pytest.mark.parametrize('explained', [DiffusionBackbone, PartialNoiseGenerator, SyntheticStore])
def test_examples_in_docstrings_run(explained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SyntheticStore.prepare('work_dirs/diff2in1_rooms/synthetic', **PURPOSE)
    store.add(make_record(), *make_sample(0))
    (found,) = doctest.DocTestFinder(recurse=False).find(explained)
    said: list[str] = []
    assert 2 <= len(found.examples) < 10
    assert doctest.DocTestRunner().run(found, out=said.append).failed == 0, ''.join(said)


def test_the_python_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('photo.jpg', np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    Path('labels').mkdir()
    cv2.imwrite('labels/0.png', np.array([[0, 3], [3, 255]], np.uint8))
    store = SyntheticStore.prepare('work_dirs/diff2in1_rooms/synthetic', **PURPOSE)
    store.add(make_record(), *make_sample(0))
    blocks = re.findall(r'^```python\n(.*?)^```', (ROOT / 'docs' / 'python.md').read_text(), re.M | re.S)
    assert len(blocks) == 4 and all(len(block.strip().splitlines()) <= 10 for block in blocks)
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if 'one vector for' in line]) == len(scope['backbone'].strides) == 4
    (shares,) = [line for line in said if line.startswith('proportions =')]
    assert shares == f'proportions = {[0.3333, 0.0, 0.0, 0.6667, *[0.0] * 8]}'
    assert 'samples=1' in said[-2] and '0.jpg 400 a photo (12, 16, 3) (12, 16)' == said[-1]
    variants = [cv2.imread(f'variant_{number}.png') for number in (0, 1)]
    assert variants[0].shape == (64, 96, 3) and (variants[0] != variants[1]).any()
