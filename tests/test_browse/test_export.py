"""The page as a folder."""

import json
import re
from pathlib import Path

import pytest

from diff2in1_mm.browse.catalogue import Query
from diff2in1_mm.browse.export import write_folder

from .conftest import EVIL


def test_the_folder_holds_all_that_it_shows(session, ids, tmp_path):
    Path(session.catalogue.records[0].source_path).unlink()
    assert write_folder(session, tmp_path / 'report', Query(sort='confidence', descending=True), limit=4) == 4
    told = (tmp_path / 'report' / 'data.js').read_text(encoding='ascii')
    content = json.loads(re.fullmatch(r'window.STORE = (.*);\n', told)[1])
    assert content['rows'][0]['id'] == ids[0] and content['rows'][0]['caption'] == EVIL
    files = [name for row in content['rows'] for name in row['pictures'].values()]
    assert len(set(files)) == len(files) == 11 and all((tmp_path / 'report' / name).is_file() for name in files)
    page = (tmp_path / 'report' / 'index.html').read_text()
    assert page.index('data.js') < page.index('page.js') and 'http' not in re.sub('http-equiv', '', page)
    with pytest.raises(FileExistsError, match='not empty'):
        write_folder(session, tmp_path / 'report', Query(), limit=4)
