"""The house: imports between rooms go down, the page and its picture are up to date, nothing grows too large."""

import ast
import importlib
import importlib.util
import re
import warnings
from pathlib import Path

import pytest

import diff2in1_mm

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'architecture.md'
MOST_LINES = 400


def load_script():
    spec = importlib.util.spec_from_file_location('draw_imports', ROOT / 'docs' / 'draw_imports.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()


def lines(path: Path) -> int:
    return len(path.read_text(encoding='utf-8').splitlines())


def test_the_order_names_every_room_once():
    assert sorted(script.ORDER) == script.rooms()


def test_imports_go_down_only():
    assert script.upward_imports(script.room_imports()) == []


def write_package(root: Path, **files: str) -> Path:
    for name, text in files.items():
        room = root / 'house' / name
        room.mkdir(parents=True)
        (room / '__init__.py').write_text('')
        (room / 'module.py').write_text(text)
    return root / 'house'


def test_imports_of_every_kind_are_found(tmp_path):
    package = write_package(
        tmp_path,
        store='',
        tasks='from ..store import module',
        models='from .. import store, tasks\nfrom . import module',
        hooks='def late():\n    import house.tasks.module\n',
        utils='import storehouse, os\nfrom math import pi',
    )
    found = script.room_imports(package)
    assert found == dict(store=set(), tasks={'store'}, models={'store', 'tasks'}, hooks={'tasks'}, utils=set())
    assert script.upward_imports(found) == ['tasks imports store, which stands above it']
    assert script.without_implied(found)['models'] == {'tasks'}


def test_the_picture_is_up_to_date():
    drawn = script.draw(script.room_imports())
    assert script.PICTURE.read_text(encoding='utf-8') == drawn, 'run: python docs/draw_imports.py'


def test_boxes_of_a_layer_do_not_overlap():
    drawn = script.draw(script.room_imports())
    boxes = [tuple(map(int, box)) for box in re.findall(r"<rect x='(-?\d+)' y='(\d+)'", drawn)]
    assert len(boxes) == len(script.ORDER)
    for x, y in boxes:
        assert x >= 0 and not [x2 for x2, y2 in boxes if y2 == y and x < x2 < x + script.WIDTH]


def test_every_room_has_a_row_in_the_page():
    assert sorted(re.findall(r'^\| `(\w+)` \|', PAGE.read_text(encoding='utf-8'), re.M)) == script.rooms()


def test_files_that_the_page_names_are_there():
    named = re.findall(r'`([\w/]+\.py)`', PAGE.read_text(encoding='utf-8'))
    assert named
    missing = [n for n in named if not any((folder / n).is_file() for folder in (ROOT / 'diff2in1_mm', ROOT))]
    assert [name for name in missing if '/' in name] == []


def test_the_self_improving_room_stays_small():
    files = [path for path in (ROOT / 'diff2in1_mm' / 'self_improving').glob('*.py') if path.name != '__init__.py']
    assert len(files) <= 5 and sum(map(lines, files)) <= 1200


def test_no_file_outgrows_a_reader():
    long = {path.name: lines(path) for path in (ROOT / 'diff2in1_mm').rglob('*.py') if lines(path) > MOST_LINES}
    assert long == {}


def test_tests_mirror_the_package():
    """A folder for each room, whose files begin with the name of what they are about."""
    tests, package = ROOT / 'tests', ROOT / 'diff2in1_mm'
    assert [room for room in script.rooms() if not (tests / f'test_{room}').is_dir()] == []
    strays = []
    for room in script.rooms():
        for path in (tests / f'test_{room}').rglob('test_*.py'):
            *folders, name = (part.removeprefix('test_') for part in path.relative_to(tests).with_suffix('').parts)
            if not any(name.startswith(found.stem) for found in package.joinpath(*folders).glob('[a-z]*')):
                strays.append(str(path.relative_to(tests)))
    assert strays == []


FORMER = [
    ('engine', 'SelfImprovingHook', 'self_improving.hook'),
    ('engine', 'AtomicCheckpointHook', 'hooks.checkpoint'),
    ('engine.theta', 'ThetaC', 'self_improving.theta_c'),
    ('synthesis.store', 'SyntheticStore', 'store.store'),
    ('synthesis.settings', 'CreationSettings', 'creation.settings'),
    ('paths', 'config_path', 'utils.resources'),
]


@pytest.mark.parametrize('former, name, now', FORMER)
def test_former_paths_give_the_same_objects(former, name, now):
    module = importlib.import_module(f'diff2in1_mm.{former}')
    with pytest.warns(FutureWarning, match=f'diff2in1_mm.{former}.{name} is now diff2in1_mm.'):
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(f'diff2in1_mm.{now}'), name)


def test_former_paths_know_no_other_names():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('diff2in1_mm.engine.never_there')
    from diff2in1_mm import engine

    with pytest.raises(AttributeError, match="no 'never_there': see docs/architecture.md"):
        engine.never_there
    assert not hasattr(engine, '__file__')  # which `inspect` asks every module for, and no one means
    with pytest.raises(ImportError, match='never_there'):
        exec('from diff2in1_mm.engine import never_there')


def test_the_package_itself_uses_no_former_path():
    """Not even for a moment: a warning would come up in users' runs."""
    former = {name for name, _, _ in FORMER}
    for path in Path(diff2in1_mm.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.removeprefix('diff2in1_mm.') not in former, path
    with warnings.catch_warnings():
        warnings.simplefilter('error', FutureWarning)
        importlib.import_module('diff2in1_mm.launch.config')
