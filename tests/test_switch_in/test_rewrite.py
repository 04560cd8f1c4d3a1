"""Switched configs: what stays of the base, and what goes with its backbone."""

import os.path as osp

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from diff2in1_mm.switch_in.built import load
from diff2in1_mm.switch_in.fitting import Fit
from diff2in1_mm.switch_in.maps import given_maps
from diff2in1_mm.switch_in.options import WAYS, SwitchOptions
from diff2in1_mm.switch_in.rewrite import switch_in, switched_text
from diff2in1_mm.switch_in.stages import creation_stage
from diff2in1_mm.utils.errors import UserError

from ..family_models import save

pytest.importorskip('mmseg')

MAPS = given_maps([16], [4])
BASE = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', pretrained='torchvision://resnet18',
    init_cfg=dict(type='Pretrained', checkpoint='whole.pth'),
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[1, 2, 3], std=[4, 5, 6],
                           size=(256, 1024)),
    backbone=dict(type='ResNet', depth=18, frozen_stages=1),
    decode_head=dict(type='FCNHead', in_channels=16, channels=8, in_index=0, num_classes=3),
    test_cfg=dict(mode='whole'))
train_dataloader = dict(
    batch_size=2, dataset=dict(type='ADE20KDataset', data_root='d', pipeline=[]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
"""
# crops that the data preprocessor does not know
NO_SIZE = "model['data_preprocessor'].update(size=None, size_divisor=32)\ncrop_size = 64\n"


@pytest.fixture
def switch(tmp_path):
    """Writes a base config, switches it, and reads the result."""

    def switched(more='', text=BASE, **options):
        (tmp_path / 'project').mkdir(exist_ok=True)
        base = tmp_path / 'project' / 'base.py'
        base.write_text(text + more)
        out = tmp_path / 'other' / 'mine.py'
        out.parent.mkdir(exist_ok=True)
        out.write_text(switch_in(str(base), str(out), SwitchOptions(**{'maps': MAPS, **options})))
        return Config.fromfile(out)

    return switched


def test_backbone_data_and_hook(switch):
    cfg = switch()
    assert cfg.model.backbone == dict(
        type='DiffusionBackbone',
        input_mean=[1.0, 2.0, 3.0],
        input_std=[4.0, 5.0, 6.0],
        input_bgr=True,
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='bf16'),
        out_channels=[16],
        out_strides=[4],
    )
    assert cfg.model.pretrained is None and cfg.model.init_cfg is None and cfg.model.decode_head.num_classes == 3
    loader = cfg.train_dataloader
    assert loader.batch_size == 2 and loader.dataset.type == 'SyntheticMixDataset'
    assert loader.dataset.dataset == dict(type='ADE20KDataset', data_root='d', pipeline=[])
    (hook,) = cfg.custom_hooks
    assert hook.type == 'SelfImprovingHook' and hook.warm_up == 50
    assert hook.creation == dict(T=400, scale=(2048, 512), condition=dict(type='ComposedCaption', scene='scene'))
    assert cfg.default_hooks.checkpoint == dict(type='AtomicCheckpointHook', interval=1)
    assert cfg.randomness.seed == 0 and cfg.custom_imports.imports == ['diff2in1_mm']


def test_choices(switch):
    cfg = switch(diffusion='a/b', dtype='fp32', warm_up=7, T=250)
    assert cfg.model.backbone.diffusion == dict(source='a/b', dtype='fp32')
    assert cfg.custom_hooks[0].warm_up == 7 and cfg.custom_hooks[0].creation['T'] == 250
    cfg = switch(NO_SIZE)
    assert cfg.custom_hooks[0].creation.scale == (512, 512)
    # what the model was made for, where its files say it
    cfg = switch(NO_SIZE, diffusion='diff2in1_mm/rooms')
    assert cfg.custom_hooks[0].creation.scale == (128, 128)
    cfg = switch(features_only=True)
    assert cfg.model.backbone.type == 'DiffusionBackbone'
    assert cfg.train_dataloader.dataset.type == 'ADE20KDataset' and 'custom_hooks' not in cfg
    with pytest.raises(ValueError, match='a warm-up of 100 iterations leaves none of the 100'):
        switch(warm_up=100)


def test_a_backbone_that_stays(tmp_path):
    """The model, its weights and its learning rates are the base's; the diffusion model is the creation's."""
    base, out = tmp_path / 'base.py', tmp_path / 'mine.py'
    base.write_text(
        BASE.replace('in_channels=16', 'in_channels=64') + "load_from, resume = 'old.pth', True\n"
        "optim_wrapper.update(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))\n"
    )
    options = SwitchOptions(keep_backbone=True, diffusion='diff2in1_mm/rooms', dtype='fp32')
    out.write_text(switch_in(str(base), str(out), options))
    before, cfg = Config.fromfile(base), Config.fromfile(out)
    assert cfg.model == before.model and cfg.optim_wrapper == before.optim_wrapper
    assert (cfg.load_from, cfg.resume) == ('old.pth', False)
    assert cfg.train_dataloader.dataset.dataset == before.train_dataloader.dataset
    (hook,) = cfg.custom_hooks
    assert hook.creation.diffusion == dict(source='diff2in1_mm/rooms', dtype='fp32') and hook.warm_up == 50


def test_a_preprocessor_beside_the_model(switch):
    """MMEngine's Runner gives it to the model, unless the model has one."""
    beside = "data_preprocessor = model.pop('data_preprocessor')\n"
    cfg = switch(beside)
    assert cfg.model.backbone.input_mean == [1.0, 2.0, 3.0] and cfg.model.backbone.input_bgr
    assert cfg.model.backbone.input_std == [4.0, 5.0, 6.0]
    assert cfg.custom_hooks[0].creation.scale == (2048, 512)
    cfg = switch("data_preprocessor = dict(type='SegDataPreProcessor', mean=[7], std=[8])\n")
    assert cfg.model.backbone.input_mean == [1.0, 2.0, 3.0]
    assert 'input_bgr' not in switch(beside + "data_preprocessor['bgr_to_rgb'] = True\n").model.backbone


@pytest.mark.parametrize('option', ['bgr_to_rgb', 'rgb_to_bgr'])
def test_a_preprocessor_that_exchanges_channels(switch, option):
    """Both names do the same, and red reaches the diffusion model as red."""
    backbone = switch(f"model['data_preprocessor']['{option}'] = True\n").model.backbone
    assert 'input_bgr' not in backbone and backbone.input_mean == [1.0, 2.0, 3.0]


def test_hooks_seed_imports_and_weights_of_the_base(switch):
    cfg = switch("""
custom_imports = dict(imports='json')
custom_hooks = [dict(type='EMAHook'), dict(type='NumClassCheckHook')]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=20))
randomness = dict(seed=5)
load_from, resume, work_dir = 'old.pth', True, 'work_dirs/old'
train_cfg = dict(by_epoch=True, max_epochs=9)
""")
    assert [hook.type for hook in cfg.custom_hooks] == ['NumClassCheckHook', 'SelfImprovingHook']
    assert cfg.custom_hooks[-1].warm_up == 4  # epochs
    assert cfg.default_hooks.checkpoint == dict(type='AtomicCheckpointHook', interval=20)
    assert cfg.randomness.seed == 5
    assert (cfg.load_from, cfg.resume, cfg.work_dir) == (None, False, None)
    assert cfg.custom_imports.imports == ['json', 'diff2in1_mm']


def test_parts_of_the_base_that_are_none(switch):
    cfg = switch('custom_imports = randomness = None\ndefault_hooks = dict(checkpoint=None)\n')
    assert cfg.default_hooks.checkpoint == dict(type='AtomicCheckpointHook', interval=1)
    assert cfg.randomness == dict(seed=0) and cfg.custom_imports == dict(imports=['diff2in1_mm'])


def test_learning_rates_of_the_replaced_backbone(switch):
    cfg = switch(
        "optim_wrapper.update(constructor='LearningRateDecayOptimizerConstructor',\n"
        '                     paramwise_cfg=dict(num_layers=12, decay_rate=0.9,\n'
        '                                        norm_decay_mult=0.0))\n'
    )
    assert cfg.optim_wrapper.constructor == 'DefaultOptimWrapperConstructor'
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)
    assert cfg.optim_wrapper.optimizer.lr == 0.1
    cfg = switch("optim_wrapper.update(constructor='MyConstructor')\n")
    assert cfg.optim_wrapper.constructor == 'MyConstructor'
    cfg = switch(
        'optim_wrapper.update(paramwise_cfg=dict(custom_keys={\n'
        "    'backbone': dict(lr_mult=0.1), 'head': dict(lr_mult=10.)}))\n"
    )
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {
        'backbone': dict(lr_mult=0.1),
        'head': dict(lr_mult=10.0),
        'backbone.projections': dict(lr_mult=1.0),
    }


def test_a_denoiser_that_is_trained(switch):
    cfg = switch(train='lora')
    assert cfg.model.backbone.train == 'lora' and 'paramwise_cfg' not in cfg.optim_wrapper
    slow = dict(lr_mult=0.1)
    cfg = switch(train='full')
    assert cfg.model.backbone.train == 'full'
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {'backbone.denoiser': slow}
    keys = "{'backbone': dict(lr_mult=0.5)}"
    cfg = switch(f'optim_wrapper.update(paramwise_cfg=dict(custom_keys={keys}))\n', train='full')
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {
        'backbone': dict(lr_mult=0.5),
        'backbone.projections': dict(lr_mult=1.0),
        'backbone.denoiser': slow,
    }
    cfg = switch(f'optim_wrapper.update(paramwise_cfg=dict(custom_keys={keys}))\n', train='lora')
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys['backbone.denoiser'] == dict(lr_mult=1.0)  # new weights
    cfg = switch("optim_wrapper.update(constructor='LearningRateDecayOptimizerConstructor')\n", train='full')
    assert cfg.optim_wrapper.paramwise_cfg == dict(custom_keys={'backbone.denoiser': slow})


@pytest.mark.parametrize(
    'text, sentence',
    [
        (BASE.replace("'ResNet'", "'DiffusionBackbone'"), 'already has a DiffusionBackbone'),
        (BASE.replace('backbone=', 'detector='), 'no backbone of its own'),
        (BASE.replace("type='EncoderDecoder', ", ''), 'has no model'),
        (BASE.replace('train_dataloader', 'some_dataloader'), 'no train_dataloader'),
        (BASE.replace('dataset=', 'no_dataset='), 'no train_dataloader with a dataset'),
        (BASE.replace('backbone=dict(', 'backbone=None, old=dict('), 'no backbone of its own'),
        (BASE.replace("'EncoderDecoder'", "'DepthEstimator'"), 'normals_and_depth.md'),
        (BASE + 'a =', 'cannot be read as a config .SyntaxError.*mend it'),
        (BASE.replace("'FCNHead'", "'NoSuchHead'"), 'cannot be built here.*NoSuchHead'),
        (BASE.replace('max_iters=100', 'max_iters=1'), 'no room for two stages'),
        ('import no_such_module_of_mine\n' + BASE, 'read_base'),
        (BASE + "custom_imports = dict(imports=['no_such_module_of_mine'])", 'PYTHONPATH'),
        ("_base_ = ['absent.py']", 'inherits .*absent.py, which does not exist'),
    ],
)
def test_what_cannot_be_switched(switch, text, sentence):
    with pytest.raises((ValueError, OSError, ImportError), match=sentence):
        switch(text=text)


@pytest.mark.parametrize(
    'options, sentence',
    [
        (dict(T=0), '1 to 999'),
        (dict(warm_up=-1), '0 or more'),
        (dict(side=0), '32 pixels'),
        (dict(dtype='int8'), 'not one of'),
        (dict(train='head'), 'neither lora nor full'),
        (dict(train='lora', dtype='fp16'), 'vanish in fp16'),
        (dict(features_only=True, T=300), 'give either'),
        (dict(maps=MAPS, side=64), 'give either'),
        (dict(keep_backbone=True, features_only=True), 'nothing of Diff-2-in-1'),
        (dict(keep_backbone=True, maps=MAPS), 'a backbone that is replaced'),
        (dict(diffusion='./absent'), 'neither an existing'),
        (dict(diffusion='absent.safetensors'), 'does not exist'),
    ],
)
def test_options_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SwitchOptions(**options)


@pytest.mark.parametrize(
    'name, sentence',
    [
        ('absent.py', "there is no config 'absent.py': give a file"),
        ('mmseg::absent.py', 'cannot be read as a config of an installed library.*upernet_r50'),
        ('mmseg::upernet/absent.py', 'cannot be read as a config of an installed library.*upernet_r50'),
    ],
)
def test_names_that_do_not_exist(tmp_path, name, sentence):
    with pytest.raises(FileNotFoundError, match=sentence):
        switch_in(name, str(tmp_path / 'out.py'))


def test_a_name_that_mmengine_does_not_read_is_told_its_path(tmp_path):
    pytest.importorskip('mmdet')
    name = 'mmdet::gn+ws/mask-rcnn_r50_fpn_gn-ws-all_2x_coco.py'
    with pytest.raises(ValueError, match='is there, but is not read by its name .*: give its path, ') as error:
        switch_in(name, str(tmp_path / 'out.py'))
    assert osp.isfile(str(error.value).rpartition(', ')[2])


def test_a_detector_of_its_library(tmp_path):
    pytest.importorskip('mmdet')
    out = tmp_path / 'out.py'
    options = SwitchOptions(side=64)
    out.write_text(switch_in('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', str(out), options))
    cfg = Config.fromfile(out)
    assert cfg.model.backbone.out_channels == [None, 512, 1024, 2048]
    assert cfg.model.backbone.input_bgr and cfg.model.backbone.input_std == [1.0, 1.0, 1.0]
    hook = cfg.custom_hooks[-1]
    assert hook.warm_up == 6 and hook.creation['T'] == 300 and hook.confidence == 0.9
    assert hook.creation.scale == (768, 512) and hook.creation.label_scale == (1333, 800)


@pytest.mark.parametrize('keeps', [False, True])
def test_a_teachers_config_is_found_where_the_library_has_it(tmp_path, monkeypatch, keeps):
    """LD names it by a path from the root of MMDetection's repository."""
    pytest.importorskip('mmdet')
    base, out = 'mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py', tmp_path / 'ld.py'
    cfg, options = load(base), SwitchOptions(maps=given_maps([64, 128, 256, 512], [4, 8, 16, 32]))
    fit = Fit('instances', None if keeps else options.maps)
    out.write_text(switched_text(cfg, base, str(out), options, fit))
    assert Config.fromfile(Config.fromfile(out).model.teacher_config).model.backbone.depth == 101
    (tmp_path / 'configs/gfl').mkdir(parents=True)
    (tmp_path / 'configs/gfl/gfl_r101_fpn_ms-2x_coco.py').write_text('')
    monkeypatch.chdir(tmp_path)  # in a checkout of the repository it is there
    assert 'teacher_config' not in switched_text(load(base), base, str(out), options, fit)


def test_a_detector_that_squeezes_images():
    """It is shown stored images of the ratio that it knows, at the size that it knows."""
    pytest.importorskip('mmdet')
    text = ''.join(creation_stage(load('mmdet::yolact/yolact_r50_1xb8-55e_coco.py'), SwitchOptions(), 'instances'))
    assert ' scale=(550, 550),' in text and 'label_scale=(550, 550)' in text
    assert 'keep_ratio=False' in text


def test_links_between_the_base_and_the_new_file(tmp_path):
    """MMEngine goes up from a linked folder by its name and by where it leads, and wants both."""
    (tmp_path / 'project').mkdir()
    (tmp_path / 'far/away/real').mkdir(parents=True)
    (tmp_path / 'project/parent.py').write_text(BASE)
    (tmp_path / 'far/base.py').write_text("_base_ = ['parent.py']")
    base, link = tmp_path / 'project/base.py', tmp_path / 'project/link'
    base.symlink_to(tmp_path / 'far/base.py')
    link.symlink_to(tmp_path / 'far/away/real')
    (tmp_path / 'whole').symlink_to(tmp_path / 'project')

    def inherited(base, out):
        text = switch_in(str(base), str(out), SwitchOptions(maps=MAPS))
        out.parent.mkdir(exist_ok=True)
        out.write_text(text)
        assert Config.fromfile(out).model.decode_head.num_classes == 3
        return text.splitlines()[2]

    assert inherited(base, link / 'mine.py') == f'_base_ = [{str(base)!r}]'
    # links that make no difference
    base = tmp_path / 'whole/parent.py'
    assert inherited(base, tmp_path / 'whole/new/mine.py') == "_base_ = ['../parent.py']"
    base = tmp_path / 'project/base.py'
    assert inherited(base, tmp_path / 'project/mine.py') == "_base_ = ['base.py']"


def test_a_model_that_theta_c_cannot_label_for(tmp_path):
    pytest.importorskip('mmdet')
    names = dict(FastRCNN='mmdet::fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py', RPN='mmdet::rpn/rpn_r50_fpn_1x_coco.py')
    maps = given_maps([256, 512, 1024, 2048], [4, 8, 16, 32])
    for name, base in names.items():
        with pytest.raises(ValueError, match=f'{name}.*--features-only'):
            switch_in(base, str(tmp_path / 'out.py'), SwitchOptions(maps=maps))
        text = switch_in(base, str(tmp_path / 'out.py'), SwitchOptions(maps=maps, features_only=True))
        assert 'DiffusionBackbone' in text and 'SelfImprovingHook' not in text


@pytest.fixture(scope='module')
def of_family(tmp_path_factory):
    """Folder of a small model of a family."""
    return lambda name, **options: save(name, tmp_path_factory.mktemp(name), **options)


def test_a_flow_models_level_is_that_of_stable_diffusions_step(switch, of_family):
    cfg = switch(NO_SIZE, diffusion=of_family('flux'))
    creation = cfg.custom_hooks[0].creation
    assert creation['T'] == 400 and creation.T_of == 'sd' and creation.scale == (1024, 1024)
    assert switch(diffusion=of_family('xl')).custom_hooks[0].creation.get('T_of') is None


def test_a_dtype_in_which_the_family_overflows(of_family):
    with pytest.raises(UserError, match='overflow in fp16: take dtype fp32 or bf16'):
        SwitchOptions(diffusion=of_family('flux'), dtype='fp16')


@pytest.mark.parametrize(
    'unet, told', [({}, dict(type='Prompt')), (dict(num_class_embeds=5), dict(type='ClassLabel', label=0))]
)
def test_models_without_text_are_told_nothing_or_a_class(switch, of_family, unet, told):
    source = of_family('ddpm', **unet)
    cfg = switch(diffusion=source, dtype='fp32')
    assert cfg.custom_hooks[0].creation.condition == told
    assert cfg.model.backbone.get('condition') == (told if 'label' in told else None)
    backbone = MODELS.build({**cfg.model.backbone, 'out_channels': None, 'out_strides': None})
    assert len(backbone.eval()(torch.zeros(1, 3, 16, 16))) == len(backbone.strides)


@pytest.mark.parametrize('ways', WAYS.values())
def test_a_detector_that_reads_texts_is_named_before_it_is_built(switch, ways):
    with pytest.raises(UserError, match='EncoderDecoder reads texts beside its images, .*: switch a detector'):
        switch("model['language_model'] = dict(type='BertModel')\n", **{'maps': None, **ways})
