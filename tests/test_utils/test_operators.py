"""mmcv without its operators: what still runs, and what is said of the rest."""

import subprocess
import sys
import textwrap

import mmcv
import pytest
import torch

from diff2in1_mm.utils import operators
from diff2in1_mm.utils.errors import NotInstalledError
from diff2in1_mm.utils.operators import _StandIn

from ..versions import lines_of_ours

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)

sys.meta_path.insert(0, Hidden())
"""


def test_segmentation_is_built_and_runs_without_operators_and_detectors_are_told_before():
    pytest.importorskip('mmseg')
    code = """
        import torch, diff2in1_mm
        from mmengine.config import Config
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules
        from diff2in1_mm.utils.optional import check_config
        register_all_modules()
        head = dict(type='FCNHead', in_channels=8, channels=4, num_classes=3, num_convs=1,
                    loss_decode=dict(type='CrossEntropyLoss'))
        head = MODELS.build(head)
        print(tuple(head([torch.zeros(1, 8, 4, 4)]).shape))
        check_config(Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder'))))
        sys.modules['torchvision'] = sys.modules['torchvision.ops'] = None
        try:
            check_config(Config(dict(default_scope='mmdet')))
        except ImportError as error:
            print(error)
    """
    result = subprocess.run([sys.executable, '-c', HIDE + textwrap.dedent(code)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    shape, sentence = lines_of_ours(result.stdout)
    assert shape == '(1, 3, 4, 4)'
    assert 'has no compiled operators, and torchvision cannot serve in their place' in sentence
    assert 'pip uninstall -y' in sentence and '--no-build-isolation' in sentence


def test_an_operator_that_nothing_serves_is_named_at_its_first_use():
    stand_in = _StandIn('mmcv._ext', '')
    with pytest.raises(NotInstalledError, match=r'the operator carafe_forward is one of those of mmcv.*run `pip'):
        stand_in.carafe_forward(1, factor=2)
    assert not hasattr(stand_in, '__path__')


def test_an_operator_that_torchvision_would_serve_is_named_where_it_does_not(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision.ops', None)
    operators._torchvision.cache_clear()
    with pytest.raises(NotInstalledError, match='torchvision cannot serve in their place .*run `pip'):
        _StandIn('mmcv._ext', '').nms(torch.zeros(1, 4), torch.zeros(1), iou_threshold=0.5, offset=0)


def test_operators_of_another_torch_are_named(monkeypatch):
    def import_module(name):
        raise ImportError('_ext.so: undefined symbol: _ZN2at4_ops')

    monkeypatch.setattr(operators, 'is_installed', lambda module: True)
    monkeypatch.setattr(operators.importlib, 'import_module', import_module)
    with pytest.raises(ImportError, match='undefined symbol.*--no-cache-dir`.$') as caught:
        operators.stand_in_for_operators()
    assert '\n' not in str(caught.value)


def _torchvision_serves():
    try:
        operators._torchvision()
    except NotInstalledError:
        return False
    return not isinstance(sys.modules['mmcv._ext'], _StandIn)


@pytest.mark.skipif(
    not _torchvision_serves(),
    reason=f'compares operators of mmcv {mmcv.__version__} with those of the torchvision of torch {torch.__version__}',
)
class TestAgainstThoseOfMMCV:
    """Each by mmcv's own function, once over its operators and once over the stand-in."""

    @pytest.fixture
    def both(self, monkeypatch):
        import mmcv.ops

        def run(module, function, *args):
            results = []
            for ext in (sys.modules['mmcv._ext'], _StandIn('mmcv._ext', '')):
                monkeypatch.setattr(getattr(mmcv.ops, module), 'ext_module', ext)
                leaves = [a.clone().requires_grad_() if torch.is_tensor(a) and a.dim() != 2 else a for a in args]
                output = function(*leaves)
                output.square().sum().backward()
                results.append(
                    [output, *(leaf.grad for leaf in leaves if torch.is_tensor(leaf) and leaf.requires_grad)]
                )
            for stock, ours in zip(*results):
                torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)

        return run

    @pytest.mark.parametrize('aligned', [True, False])
    def test_roi_align(self, both, aligned):
        from mmcv.ops.roi_align import roi_align

        rois = torch.tensor([[0, 1.0, 2, 9, 7], [1, 0, 0, 5, 6]])
        both('roi_align', lambda x: roi_align(x, rois, (3, 4), 0.5, 2, 'avg', aligned), torch.rand(2, 3, 8, 8))

    def test_modulated_deformable_convolution(self, both):
        from mmcv.ops.modulated_deform_conv import modulated_deform_conv2d

        parts = (torch.rand(2, 4, 6, 6), torch.rand(2, 36, 6, 6), torch.rand(2, 18, 6, 6), torch.rand(6, 2, 3, 3))
        both(
            'modulated_deform_conv',
            lambda x, offset, mask, weight, bias: modulated_deform_conv2d(x, offset, mask, weight, bias, 1, 1, 1, 2, 2),
            *parts,
            torch.rand(6),
        )

    @pytest.mark.parametrize('offset', [0, 1])
    def test_nms(self, offset):
        corner = torch.rand(60, 2) * 20
        boxes, scores = torch.cat([corner, corner + 4 + torch.rand(60, 2) * 9], 1), torch.rand(60)
        stock = sys.modules['mmcv._ext'].nms(boxes, scores, iou_threshold=0.4, offset=offset)
        assert 1 < len(stock) < 60
        assert torch.equal(_StandIn('mmcv._ext', '').nms(boxes, scores, iou_threshold=0.4, offset=offset), stock)
