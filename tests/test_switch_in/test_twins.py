import copy

from mmengine.config import Config

from diff2in1_mm.switch_in.twins import depth_of, model_key

MODEL = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[1.0] * 3, size=(512, 512)),
    backbone=dict(type='ResNet', depth=50, init_cfg=None, out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        type='FCNHead', in_channels=2048, num_classes=19, loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)
    ),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)


def key(with_depth=True, data=(), **changes):
    """Of the model with settings changed, ``decode_head__num_classes=3`` inside a part."""
    model = copy.deepcopy(MODEL)
    for name, value in changes.items():
        *parts, last = name.split('__')
        inside = model
        for part in parts:
            inside = inside[part]
        inside[last] = value
    return model_key(Config(dict(model=model, train_dataloader=dict(dataset=dict(pipeline=list(data))))), with_depth)


def test_what_a_trial_does_not_depend_on():
    assert key() == key(
        pretrained='there.pth',
        backbone__init_cfg=dict(type='Pretrained', checkpoint='here.pth'),
        data_preprocessor__size=(769, 769),
        data_preprocessor__mean=[2.0] * 3,
        decode_head__num_classes=150,
        decode_head__loss_decode__loss_weight=0.4,
        test_cfg__stride=(1, 1),
    )


def test_what_it_depends_on():
    weighted = dict(type='CrossEntropyLoss', class_weight=[1.0] * 19)
    keys = [
        key(),
        key(decode_head__in_channels=1024),
        key(decode_head__loss_decode=weighted),
        key(backbone__depth=101),
        key(backbone__out_indices=(3,)),
        key(test_cfg__mode='whole'),
        key(data=[dict(type='LoadAnnotations', with_mask=True)]),
    ]
    assert len(set(keys)) == len(keys)
    more_classes = dict(weighted, class_weight=[2.0] * 150)
    assert keys[2] == key(decode_head__loss_decode=more_classes)
    panoptic = [dict(type='mmdet.LoadPanopticAnnotations')]
    assert keys[-1] == key(data=panoptic) != key(data=[dict(panoptic[0], with_mask=False)])


def test_the_depth_of_a_backbone_that_is_replaced():
    assert key(False) == key(False, backbone__depth=101, backbone__groups=32)
    assert key(False) != key(False, backbone__type='ResNetV1c')
    assert key(False) != key(False, backbone__out_indices=(3,))
    assert key(False) != key(False, decode_head__in_channels=1024)
    depths = [dict(depth=101), dict(depth=50, groups=32), dict(depths=[2, 2, 6, 2]), dict(arch='b0')]
    assert [depth_of(Config(dict(model=dict(backbone=backbone)))) for backbone in depths] == [
        (101, 1), (50, 32), (12, 1), (0, 1),
    ]  # fmt: skip
