"""The page as a folder that needs no server, for a report."""

import hashlib
import json
import shutil
from pathlib import Path

from mmengine.utils import track_iter_progress

from ..utils.atomic_files import write_atomic
from ..utils.errors import FileInTheWayError
from ..utils.values import spread_over
from .catalogue import Query
from .server import PAGE
from .session import Session

__all__ = ['write_folder']


def write_folder(session: Session, folder: str | Path, query: Query, limit: int) -> int:
    """Write the chosen samples, or as many spread over them; how many it were.

    Args:
        session (Session): What is shown. Reads all of its catalogue.
        folder (str | Path): New or empty.
        query (Query): Which samples, in which order.
        limit (int): At most so many.

    Raises:
        FileExistsError: The folder holds something.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileInTheWayError(f'{folder} is not empty: give a new folder')
    session.catalogue.read()
    places = session.catalogue.select(query)
    rows = []
    for place in track_iter_progress([int(places[i]) for i in spread_over(len(places), limit)]):
        record = session.catalogue.verdicts.applied(session.catalogue.records[place])
        row = session.catalogue.row(record)
        row['pictures'] = {}
        for number, kind in enumerate(session.pictures.kinds):
            try:
                content = session.pictures.get(record, kind)
            except (OSError, ValueError):  # a source image that is gone: the page says so
                continue
            name = f'pictures/{hashlib.sha256(record.id.encode()).hexdigest()[:16]}_{number}.jpg'
            write_atomic(folder / name, content)
            row['pictures'][kind] = name
        rows.append(row)
    # a script, as pages that are opened from a folder may not fetch; ASCII alone, so that no text ends it
    told = json.dumps(dict(summary=session.summary(), rows=rows))
    write_atomic(folder / 'data.js', f'window.STORE = {told};\n'.encode('ascii'))
    for name in ('page.css', 'page.js'):
        shutil.copy(PAGE / name, folder / name)
    page = (PAGE / 'index.html').read_text(encoding='utf-8')
    data = '<script src="data.js" defer></script>\n'
    write_atomic(folder / 'index.html', page.replace('<script src="page.js"', f'{data}<script src="page.js"').encode())
    return len(rows)
