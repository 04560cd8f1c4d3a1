"""tools/create_data.py: as a command, killed and continued, on two processes, and its sentences."""

import importlib.util
import json
import shutil
import time
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from diff2in1_mm.creation.job import CreationJob
from diff2in1_mm.store.joining import join
from diff2in1_mm.store.shares import shares_of
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError
from tests.processes import Script, run_in_two_processes
from tests.tiny_segmentation import build_model, dataset_config, make_images, model_config

from ..stores import records_written

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'create_data.py'
COPIES = 6


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('create_data', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory, pipeline_folder):
    """Images, config and checkpoint of a run."""
    folder = tmp_path_factory.mktemp('run')
    make_images(folder / 'data')
    model = build_model(pipeline_folder)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    Config(
        dict(
            default_scope='mmseg',
            custom_imports=dict(imports=['diff2in1_mm']),
            model=model_config(pipeline_folder),
            randomness=dict(seed=3),
            train_dataloader=dict(dataset=dict(type='SyntheticMixDataset', dataset=dataset_config(folder / 'data'))),
            custom_hooks=[dict(type='SelfImprovingHook', warm_up=4, creation=dict(T=300, steps=10, batch_size=2))],
        )
    ).dump(folder / 'c.py')
    return folder


@pytest.fixture
def arguments(run_folder, tmp_path):
    return [str(run_folder / 'c.py'), str(run_folder / 'model.pth'), '--out', str(tmp_path / 's')]


@pytest.fixture
def one_thread():
    """As the processes under torchrun have, so that sums are rounded alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def files(folder):
    """Name -> content of all samples' files; and the records, whoever wrote them."""
    samples = {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ('images', 'annotations')
        for path in (folder / part).rglob('*.png')
    }
    records = [path.read_bytes() for path in (folder / 'records').glob('*.jsonl')]
    return samples, sorted(line for lines in records for line in lines.splitlines())


def test_killed_and_continued_on_two_processes(tool, run_folder, tmp_path, one_thread):
    common = [
        str(run_folder / 'c.py'),
        str(run_folder / 'model.pth'),
        '--device',
        'cpu',
        '--copies',
        str(COPIES),
        '--out',
    ]
    killed, whole = tmp_path / 'killed', tmp_path / 'whole'
    command = [SCRIPT, *common, killed]
    process = Script(command, tmp_path)
    deadline = time.monotonic() + 240
    while records_written(killed) < 10:
        assert process.poll() is None and time.monotonic() < deadline, process.said()
        time.sleep(0.005)
    process.kill()
    half = SyntheticStore(killed)
    assert 10 <= len(half) < 7 * COPIES and not half.damaged
    stamps = {
        path: path.stat().st_mtime_ns
        for record in half.records()
        for path in (killed / record.image, *half.annotation_paths(record).values())
    }
    assert f'holds {7 * COPIES} samples' in run_in_two_processes(command, tmp_path)
    # nothing twice: what was there is untouched
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    tool.main([*common, str(whole)])
    assert files(killed) == files(whole)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ['killed', 'whole']


def test_settings_come_from_the_hook_and_the_command_line(tool, arguments, tmp_path):
    tool.main(
        [
            *arguments,
            '--T',
            '50',
            '250',
            '--solver',
            'ddim',
            '--limit',
            '3',
            '--seed',
            '8',
            '--cfg-options',
            'custom_hooks.0.creation.confidence=0.5',
        ]
    )
    store = SyntheticStore(tmp_path / 's')
    assert len(store) == 3 and {r.T for r in store.records()} <= {50, 250}
    assert store.settings['solver'] == 'ddim' and store.settings['steps'] == [50, 50]
    assert store.settings['seed'] == 8 and store.settings['confidence'] == 0.5
    assert cv2.imread(str(tmp_path / 's/preview.png')) is not None
    tool.main(
        [
            *arguments,
            '--T',
            '50',
            '250',
            '--solver',
            'ddim',
            '--seed',
            '8',
            '--cfg-options',
            'custom_hooks.0.creation.confidence=0.5',
        ]
    )
    assert len(SyntheticStore(tmp_path / 's')) == 7


def test_the_hooks_own_confidence_counts(tool, arguments, tmp_path):
    """A training run must be able to go on with this store."""
    tool.main([*arguments, '--limit', '1', '--cfg-options', 'custom_hooks.0.confidence=0.4'])
    assert SyntheticStore(tmp_path / 's').settings['confidence'] == 0.4


def test_shares_of_a_job_array_are_the_store_of_one_process(tool, run_folder, tmp_path):
    """Made one after the other, in another order, in folders of their own and in one."""
    common = [str(run_folder / 'c.py'), str(run_folder / 'model.pth'), '--device', 'cpu', '--copies', '2', '--out']
    tool.main([*common, str(tmp_path / 'whole')])
    for number in (2, 0, 1):
        tool.main([*common, str(tmp_path / f'{number}'), '--shard', f'{number}/3'])
    sizes = [len(SyntheticStore(tmp_path / f'{number}')) for number in range(3)]
    assert sum(sizes) == 14 and min(sizes) > 0
    with pytest.raises(UserError, match='share 1 of 3 is missing or not finished'):
        join(tmp_path / 'joined', [tmp_path / '0', tmp_path / '2'])
    joined = join(tmp_path / 'joined', [tmp_path / f'{number}' for number in range(3)])
    assert files(joined.root) == files(tmp_path / 'whole')
    assert (joined.root / 'preview.png').read_bytes() == (tmp_path / 'whole/preview.png').read_bytes()
    with pytest.raises(SystemExit):
        tool.parse_args([*common, 's', '--shard', '3/3'])


def test_a_share_counts_when_it_is_done(tool, arguments, tmp_path, monkeypatch):
    """And no more when one process has made the rest of the folder."""
    with monkeypatch.context() as patch:
        patch.setattr(CreationJob, 'run', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tool.main([*arguments, '--limit', '2', '--shard', '0/2'])
    assert shares_of(tmp_path / 's') == {(0, 2): False}
    tool.main([*arguments, '--limit', '2', '--shard', '0/2'])
    assert shares_of(tmp_path / 's') == {(0, 2): True}
    tool.main([*arguments, '--limit', '2'])
    assert not shares_of(tmp_path / 's')


def sentence(tool, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        tool.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_bad_input_is_one_sentence(tool, arguments, run_folder, tmp_path, capsys):
    config, checkpoint = arguments[:2]
    out = arguments[2:]

    def said(*more, config=config, checkpoint=checkpoint):
        return sentence(tool, capsys, [config, checkpoint, *out, *more])

    assert 'T = 1000 is out of range' in said('--T', '1000')
    assert "creation has no setting 'speed'" in said('--cfg-options', 'custom_hooks.0.creation.speed=3')
    assert 'copies_per_source = 0' in said('--copies', '0')
    # the config has no captions
    assert 'guidance_scale = 3.0 changes nothing' in said('--guidance-scale', '3')
    assert 'nowhere.pth does not exist' in said(checkpoint='nowhere.pth')
    assert 'nowhere.py' in said(config='nowhere.py')
    assert 'does not exist: put the data set there' in said(
        '--cfg-options', 'train_dataloader.dataset.dataset.data_root=nowhere'
    )
    assert "DiffusionBackbone has no option 'time_step'; did you mean 'timestep'?" in said(
        '--cfg-options', 'model.backbone.time_step=3'
    )
    assert "there is no type 'Promt'" in said('--cfg-options', 'custom_hooks.0.creation.condition.type=Promt')
    assert 'is a folder' in said(checkpoint=str(tmp_path))
    assert '--device cuda:99 cannot be used' in said('--device', 'cuda:99')
    assert '/proc/nothing cannot be written' in said('--out', '/proc/nothing')
    (tmp_path / 'text.pth').write_text('no checkpoint')
    assert 'cannot be read as a checkpoint' in said(checkpoint=str(tmp_path / 'text.pth'))
    torch.save(dict(state_dict=dict(other=torch.zeros(1))), tmp_path / 'other.pth')
    assert 'does not fit the model of the config' in said(checkpoint=str(tmp_path / 'other.pth'))
    torch.save(
        dict(state_dict=dict(torch.load(checkpoint)['state_dict'], **{'decode_head.conv_seg.bias': torch.zeros(9)})),
        tmp_path / 'shape.pth',
    )
    assert 'does not fit the model' in said(checkpoint=str(tmp_path / 'shape.pth'))
    assert not (tmp_path / 's').exists()
    tool.main([*arguments, '--limit', '1'])
    assert 'already holds samples made otherwise (T: there [300], here [200])' in said('--T', '200')
    shutil.rmtree(tmp_path / 's')
    (tmp_path / 's').mkdir()
    (tmp_path / 's/notes.txt').write_text('mine')
    assert 'not a synthetic store but holds other files (notes.txt)' in said()


def test_a_bug_keeps_its_traceback(tool, arguments, monkeypatch):
    """Hours of work must not end in one line that nobody can follow."""
    monkeypatch.setattr(tool, 'create', lambda *args, **settings: float('a number'))
    with pytest.raises(ValueError, match='could not convert'):
        tool.main(arguments)


def test_help_teaches(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['--help'])
    text = capsys.readouterr().out
    assert 'torchrun --nproc_per_node' in text and 'preview.png' in text
    assert json.dumps('SelfImprovingHook')[1:-1] in text
