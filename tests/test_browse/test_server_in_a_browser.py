"""The page in a real browser: keyboard, hostile texts, a server that starts again, and what the next training sees."""

import shutil

import pytest
from mmengine.registry import DATASETS

from diff2in1_mm.browse.session import Session
from diff2in1_mm.store.reviews import Reviews
from diff2in1_mm.store.store import SyntheticStore

from ..test_datasets.folders import base_config, make_folder
from .conftest import EVIL, EVIL_FILE, serving

WANTED = "the extra `browser` is wanted for this: pip install 'diff2in1_mm[browser]'"
playwright = pytest.importorskip('playwright.sync_api', reason=WANTED)
# the system's own; else what `playwright install chromium` has fetched
CHROMIUM = next(filter(None, map(shutil.which, ('chromium-headless-shell', 'chromium', 'google-chrome'))), None)


@pytest.fixture(scope='module')
def chromium():
    with playwright.sync_playwright() as library:
        try:
            browser = library.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        except playwright.Error:
            pytest.skip('Chromium is wanted for this: `playwright install chromium`, or `apt-get install chromium`')
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport=dict(width=1280, height=800))
    page.said, page.asked = [], []
    page.on('console', lambda message: page.said.append(message.text))
    page.on('pageerror', lambda error: page.said.append(str(error)))
    page.on('request', lambda request: page.asked.append(request.url))
    yield page
    page.close()


def until(page, expression):
    """Waits; `wait_for_function` would have the page itself evaluate a text, which it refuses."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def press(page, *keys):
    for key in keys:
        if key in 'kru123':
            with page.expect_response('**/review'):
                page.keyboard.press(key)
        else:
            page.keyboard.press(key)


def served(tmp_path, store):
    """Ids of the samples that a training which starts now is given."""
    real = make_folder(tmp_path / 'real', 6)
    mix = DATASETS.build(dict(type='SyntheticMixDataset', dataset=base_config(real), store=str(store.root), round=0))
    return {mix[6 + slot]['data_samples'].sample_id for slot in range(6)}


def test_reject_undo_restart_and_train(page, session, store, ids, tmp_path):
    with serving(session) as server:
        page.goto(server.address)
        page.wait_for_selector('.row.chosen')
        press(page, 'r', 'k', 'r', '1', 'u', 'u', 'r')  # 3 rejected, a class of the 4th, both undone, the 3rd again
        page.wait_for_selector('text=1 kept, 2 rejected, 0 with a rejected class')
        assert page.said == []
    rejected = [ids[0], ids[2]]
    assert sorted(Reviews(store.root).verdicts().rejected) == rejected
    with serving(Session(SyntheticStore(store.root))) as server:  # as after a restart of the program
        page.goto(server.address)
        page.wait_for_selector(f'[data-id="{ids[0]}"].reject')
        assert served(tmp_path, store) == set(ids) - set(rejected)
        press(page, 'u')
        page.wait_for_selector('text=1 kept, 1 rejected')
        assert ids[2] in served(tmp_path, store)


def test_hostile_captions_and_file_names_are_text_and_nothing_from_elsewhere_is_asked(page, server, ids):
    page.goto(server.address)
    page.wait_for_selector('.row')
    row = page.locator(f'[data-id="{ids[0]}"]')
    assert row.locator('.caption').text_content() == EVIL
    assert row.locator('.small').text_content().endswith(EVIL_FILE)
    assert page.locator('.about img, .about script').count() == 0
    until(page, '[...document.images].every((image) => image.complete && image.naturalWidth > 0)')
    assert 'pwned' not in page.title() and all(url.startswith(server.address) for url in page.asked)
    assert page.said == []


def test_choices_change_the_list(page, server, ids):
    page.goto(server.address)
    page.wait_for_selector('.row')
    page.select_option('[name=sort]', 'confidence')
    page.wait_for_selector(f'.chosen[data-id="{ids[5]}"]')
    page.select_option('[name=shows]', 'sky')
    page.wait_for_selector('text=5 of 6 samples')
    assert page.locator(f'[data-id="{ids[2]}"]').count() == 0
    press(page, 'c')
    page.wait_for_selector(f'[data-id="{ids[5]}"] .wrong >> text=sky')


def test_the_folder_for_a_report_needs_no_server(page, session, ids, tmp_path):
    from diff2in1_mm.browse.catalogue import Query
    from diff2in1_mm.browse.export import write_folder

    session.catalogue.review('reject', ids[1], '')
    assert write_folder(session, tmp_path / 'report', Query(sort='confidence'), 4) == 4
    page.goto((tmp_path / 'report' / 'index.html').as_uri())
    page.wait_for_selector('.row')
    until(page, '[...document.images].every((image) => image.complete && image.naturalWidth > 0)')
    assert page.locator('.row').count() >= 3 and page.said == []
    page.select_option('[name=verdict]', 'reject')
    until(page, 'document.querySelectorAll(".row").length <= 1')
    with pytest.raises(FileExistsError, match='not empty'):
        write_folder(session, tmp_path / 'report', Query(), 4)
