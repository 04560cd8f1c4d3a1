import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from ..family_models import save

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('diffusion_info', ROOT / 'tools' / 'diffusion_info.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_is_described_and_its_features_are_drawn(tool, tmp_path, capsys):
    folder = save('sd3', tmp_path / 'model')
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    tool.main([folder, '--image', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'b.png'), '--device', 'cpu'])
    said = capsys.readouterr().out
    for words in (
        'SD 3 and 3.5',
        'multiples of 8 pixels',
        '400: 538',
        '280 tokens of 24 channels and a pooled text of 24 channels',
        '* transformer_blocks.1.norm1, 32 channels',
        '  transformer_blocks.2.norm1',
    ):
        assert words in said
    drawn = cv2.imread(str(tmp_path / 'b.png'))
    assert drawn.shape[0] > 192 and drawn.std() > 20


def test_a_model_without_text_and_one_without_encoders(tool, tmp_path, capsys):
    tool.main([save('ddpm', tmp_path / 'ddpm'), '--device', 'cpu'])
    assert 'told: no text' in capsys.readouterr().out
    folder = save('xl', tmp_path / 'xl')
    (tmp_path / 'xl' / 'text_encoder' / 'model.safetensors').unlink()
    tool.main([folder, '--device', 'cpu'])
    assert 'told: texts, but the text_encoder of' in capsys.readouterr().out


def test_a_class_conditional_model_is_told_its_class(tool, tmp_path, capsys):
    folder = save('ddpm', tmp_path / 'model', num_class_embeds=5)
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((32, 32, 3), 99, np.uint8))
    tool.main([folder, '--image', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'b.png'), '--label', '3'])
    said = capsys.readouterr().out
    assert 'told: one of 5 classes, 0 to 4' in said and (tmp_path / 'b.png').exists()
    with pytest.raises(SystemExit):
        tool.main([folder, '--image', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'b.png'), '--label', '5'])
    assert 'knows the classes 0 to 4, but ClassLabel has [5]' in capsys.readouterr().err


def test_half_precision_is_told_where_the_family_has_it(tool, tmp_path, capsys):
    tool.main([save('flux', tmp_path / 'model')])
    assert 'GiB in bf16\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    'more, said',
    [
        (['--image', 'gone.png'], '--image gone.png cannot be read'),
        (['--image', 'x.png', '--device', 'gpu'], 'gpu'),
        (['--image', 'x.png', '--out', 'x.xyz'], 'x.xyz does not end as a picture does: give a name such as x.png'),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_sentence(tool, tmp_path, capsys, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('x.png', np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit) as stop:
        tool.main(['diff2in1_mm/rooms', *more])
    told = capsys.readouterr().err + str(stop.value)
    assert said in told and 'Traceback' not in told


def test_what_is_no_model_is_told_in_a_sentence(tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(tmp_path / 'gone'), '--device', 'cpu'])
    assert stopped.value.code == 2
    assert 'neither an existing folder nor a hub id' in capsys.readouterr().err
