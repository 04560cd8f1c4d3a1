"""demo/image_demo.py: pictures of predictions and of variants, and its sentences."""

import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from diff2in1_commands import program
from diff2in1_mm.visualization.predictor import inference_pipeline

from ..family_models import save
from ..versions import before, needs_detectors
from . import tiny


@pytest.fixture
def photos(tmp_path):
    """Two photographs with a broken file between them."""
    folder = tmp_path / 'photos'
    tiny.write_photo(folder / 'a.png', 0)
    (folder / 'b.png').write_bytes(b'no image')
    (folder / 'c.jpg').write_bytes(b'')
    tiny.write_photo(folder / 'd.jpg', 1, size=(40, 50))
    (folder / 'notes.txt').write_text('no image either')
    return folder


@pytest.fixture
def run(demo, segmentor, tmp_path, capsys):
    """Run the demo; gives the names of what it wrote, and what it said."""

    def run(image, *options, model=segmentor):
        out = tmp_path / 'out'
        demo.main([str(image), model.config, model.checkpoint, '--out-dir', str(out), *options])
        said = capsys.readouterr()
        names = sorted(
            os.path.relpath(os.path.join(folder, name), out) for folder, _, files in os.walk(out) for name in files
        )
        return out, names, said.out + said.err

    return run


@pytest.fixture
def refused(demo, capsys):
    """The one sentence with which the demo refuses."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as stop:
            demo.main([str(argument) for argument in arguments])
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        assert stop.value.code == 2 and sentence.startswith(f'{program()}: ') and '\n' not in sentence
        return sentence

    return refused


def test_folder_with_broken_files(run, photos):
    out, names, said = run(photos)
    assert names == ['a.png', 'd.png']
    for name, size in (('a.png', (60, 90)), ('d.png', (40, 50))):
        picture = cv2.imread(str(out / name))
        assert picture.shape[1] == size[1] and picture.shape[0] > size[0]  # a legend below
    assert 'b.png cannot be read' in said and 'c.jpg cannot be read' in said
    assert '2 of 4 images' in said and '2 could not be read' in said and str(out) in said


def test_batches_change_nothing(run, tmp_path, detector):
    for number in range(5):
        tiny.write_photo(tmp_path / 'photos' / f'{number}.png', number)
    for model in ({}, dict(model=detector)):
        pictures = []
        for size in ('1', '4'):
            out, names, _ = run(tmp_path / 'photos', '--batch-size', size, **model)
            assert len(names) == 5
            pictures.append([cv2.imread(str(out / name)) for name in names])
        assert all((one == other).all() for one, other in zip(*pictures))


def test_nothing_readable_fails(demo, segmentor, photos, tmp_path):
    with pytest.raises(SystemExit) as stop:
        demo.main([str(photos / 'b.png'), segmentor.config, segmentor.checkpoint, '--out-dir', str(tmp_path / 'out')])
    assert stop.value.code == 1


def test_overlay_is_mmsegs(run, segmentor, tmp_path):
    """The picture is the image under the palette's colours of what inference_model predicts."""
    from mmseg.apis import inference_model, init_model

    photo = tiny.write_photo(tmp_path / 'photo.png')
    labels = inference_model(init_model(segmentor.config, segmentor.checkpoint, 'cpu'), photo)
    labels = labels.pred_sem_seg.data[0].numpy()
    assert len(np.unique(labels)) > 1
    out, names, _ = run(photo, '--opacity', '0.3', '--no-legend')
    picture = cv2.imread(str(out / 'photo.png'))[..., ::-1].astype(int)
    image = cv2.imread(photo)[..., ::-1]
    expected = 0.7 * image + 0.3 * np.array(tiny.PALETTE)[labels]
    off = np.abs(picture - expected)
    # MMEngine draws on a canvas of matplotlib, which before 3.11 lays the right half one pixel beside
    assert off.mean() <= 4 if before('matplotlib', '3.11') else off.max() <= 1


def test_glob_with_equal_names(run, tmp_path):
    for name in ('one/x.png', 'two/x.png', 'two/x.jpg'):
        tiny.write_photo(tmp_path / 'deep' / name)
    _, names, _ = run(tmp_path / 'deep' / '**' / '*.*g')
    assert names == ['one/x.png', 'two/x.jpg.png', 'two/x.png.png']


def test_generate(run, tmp_path):
    photo = tiny.write_photo(tmp_path / 'photo.png')
    options = ('--generate', '--T', '100', '500', '--copies', '3', '--steps', '2')
    out, names, _ = run(photo, *options)
    assert names == ['photo.png', 'photo_variants.png']
    first = cv2.imread(str(out / 'photo_variants.png'))
    # three pairs of 192 pixels high cells in a row, a row for the photograph and for each T
    assert first.shape[1] > 6 * 256 and 3 * 192 < first.shape[0] < 4 * 192
    run(photo, *options)
    assert (cv2.imread(str(out / 'photo_variants.png')) == first).all()
    run(photo, *options, '--seed', '1')
    assert (cv2.imread(str(out / 'photo_variants.png')) != first).any()


def test_long_generation_is_told_before(demo, run, tmp_path, monkeypatch):
    photo = tiny.write_photo(tmp_path / 'photo.png')
    _, _, said = run(photo, '--generate', '--T', '100', '500', '--steps', '2')
    assert 'will take' not in said
    monkeypatch.setattr(demo, '_LONG', 0)
    _, _, said = run(photo, '--generate', '--T', '100', '500', '--steps', '2')
    assert said.count('The variants will take about') == 1


def test_a_diffusion_model_alone(demo, pipeline_folder, tmp_path, capsys):
    photo = tiny.write_photo(tmp_path / 'photo.png')
    asked = [photo, '--diffusion', pipeline_folder, '--out-dir', str(tmp_path / 'out'), '--steps', '1']
    demo.main(asked)
    (drawn,) = (tmp_path / 'out').iterdir()
    first = cv2.imread(str(drawn))
    assert drawn.name == 'photo_look.png' and 'pictures in' in capsys.readouterr().out
    # image and features of three strides above, four variants below, all 3 to 2
    assert first.shape[1] == 4 * (288 + 4) and first.shape[0] > 2 * 192
    assert all(first[-196:-4, 292 * i : 292 * i + 288].std() > 10 for i in range(4))
    demo.main([*asked, '--seed', '1'])
    other = cv2.imread(str(drawn))
    assert (other[:200] == first[:200]).all() and (other[-196:] != first[-196:]).any()


def test_settings_of_the_config_are_the_defaults(demo, segmentor):
    def settings(*options):
        args = demo.parse_args(['x', segmentor.config, 'x', *options])
        return demo.creation_settings(demo.load_config(args), args)

    own = settings()
    assert own.T == [200, 400, 600] and own.copies_per_source == 2
    assert own.steps == 3 and own.condition['scene'] == 'x'
    other = settings('--solver', 'ddim', '--prompt', 'a lane')
    assert other.steps is None and other.solver == 'ddim'
    assert other.condition == dict(type='Prompt', text='a lane')
    assert settings('--guidance-scale', '2.5').guidance == dict(guidance_scale=2.5)


def test_a_data_preprocessor_beside_the_model(demo, segmentor, tmp_path):
    """MMEngine's Runner puts it into the model, and nobody else."""
    path = tmp_path / 'beside.py'
    path.write_text(
        f'_base_ = [{segmentor.config!r}]\nmodel = dict(data_preprocessor=dict('
        '_delete_=True, mean=[1]))\ndata_preprocessor = dict(mean=[2])\n'
    )
    cfg = demo.load_config(demo.parse_args(['x', str(path), 'x']))
    assert cfg.model.data_preprocessor.mean == [1]
    path.write_text('model = dict()\ndata_preprocessor = dict(mean=[2])\n')
    cfg = demo.load_config(demo.parse_args(['x', str(path), 'x']))
    assert cfg.model.data_preprocessor.mean == [2]


def test_a_config_without_testing():
    """None is MMEngine's word for it; the test pipeline says how images are read."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    cfg = Config(dict(test_dataloader=None, test_pipeline=pipeline))
    assert inference_pipeline(cfg) == pipeline[:1]


def write_turned(path):
    """A photograph of 90 x 60 pixels that its EXIF data turn by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tiny.write_photo(path.with_suffix('.png'))).save(path, exif=exif)
    path.with_suffix('.png').unlink()
    return path


@pytest.mark.parametrize('color_type, shape', [('color', (90, 60)), ('color_ignore_orientation', (60, 90))])
def test_pictures_are_turned_as_the_loader_turns(run, segmentor, tmp_path, color_type, shape):
    path = tmp_path / 'turned.py'
    path.write_text(
        Path(segmentor.config)
        .read_text()
        .replace("type='LoadImageFromFile'", f"type='LoadImageFromFile', color_type={color_type!r}")
    )
    photo = write_turned(tmp_path / 'photo.jpg')
    model = SimpleNamespace(config=str(path), checkpoint=segmentor.checkpoint)
    out, names, _ = run(photo, '--no-legend', model=model)
    assert names == ['photo.png'] and cv2.imread(str(out / names[0])).shape[:2] == shape


def test_a_binary_segmentor(run, pipeline_folder, tmp_path):
    """Whose predictions are numbers of another type."""
    text = tiny.SEGMENTOR.replace('num_classes=3', 'num_classes=2, out_channels=1')
    config = tiny.write_config(tmp_path, pipeline_folder, text)
    model = SimpleNamespace(config=config, checkpoint=tiny.write_checkpoint(config, tmp_path / 'w.pth'))
    assert run(tiny.write_photo(tmp_path / 'p' / 'photo.png'), model=model)[1] == ['photo.png']


@needs_detectors
def test_a_detector_needs_no_data_set(demo, detector):
    """MMDetection builds the test data set for its palette; Rooms would begin to render."""
    cfg = demo.load_config(demo.parse_args(['x', detector.config, 'x']))
    palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    cfg.test_dataloader.dataset.update(ann_file='absent.json', metainfo=dict(palette=palette))
    assert demo.predictor_for(cfg, detector.checkpoint).colours.tolist() == palette
    cfg.test_pipeline, cfg.test_dataloader = cfg.test_dataloader.dataset.pipeline, None
    assert demo.predictor_for(cfg, detector.checkpoint).colours.tolist() == tiny.PALETTE


def test_files_without_captions_of_their_own(demo, segmentor, capsys):
    args = demo.parse_args(['x', segmentor.config, 'x'])
    cfg = demo.load_config(args)
    cfg.custom_hooks[0].creation.condition = dict(type='OwnCaption')
    assert demo.creation_settings(cfg, args).condition == dict(type='Prompt')
    assert '--prompt' in capsys.readouterr().out
    # guidance of the config has nothing to lead to, until a prompt is given
    cfg.custom_hooks[0].creation.update(guidance_scale=3.0, negative_prompt='blurred')
    assert demo.creation_settings(cfg, args).guidance == {}
    args.prompt = 'a lane'
    assert demo.creation_settings(cfg, args).guidance == dict(guidance_scale=3.0, negative_prompt='blurred')


def test_caption_names_predicted_classes(demo, segmentor, tmp_path):
    """No label is there, so a composed caption tells what the model sees."""
    args = demo.parse_args(
        [tiny.write_photo(tmp_path / 'p.png'), segmentor.config, segmentor.checkpoint, '--T', '9', '--steps', '1']
    )
    cfg = demo.load_config(args)
    maker = demo.VariantMaker(demo.creation_settings(cfg, args), 0)
    predictor = demo.predictor_for(cfg, segmentor.checkpoint)
    maker.attach(predictor, [args.image])
    asked = []
    maker._embed = lambda source: (asked.append(source), predictor.model.backbone._condition)[1]
    image = demo.load_image(args.image)
    prediction = predictor.predict(args.image)
    maker.picture(args.image, image, prediction, image)
    assert set(asked[0].classes) == {tiny.CLASSES[i] for i in predictor.present(prediction)}


@needs_detectors
def test_detector(run, detector, tmp_path):
    photo = tiny.write_photo(tmp_path / 'photo.png')
    out, names, _ = run(
        photo, '--score-thr', '0', '--generate', '--T', '100', '--steps', '1', '--copies', '1', model=detector
    )
    assert names == ['photo.png', 'photo_variants.png']
    picture = cv2.imread(str(out / 'photo.png'))
    assert picture.shape == (60, 90, 3)  # the boxes carry their names
    assert (picture != cv2.imread(photo)).any()


@pytest.mark.parametrize(
    'image, words',
    [
        ('nowhere.jpg', 'no image, folder or match'),
        ('empty', 'holds no images'),
        ('*.gif', 'no image, folder or match'),
    ],
)
def test_missing_images(refused, segmentor, tmp_path, image, words):
    (tmp_path / 'empty').mkdir()
    assert words in refused(tmp_path / image, segmentor.config, segmentor.checkpoint)


def test_faulty_configs(refused, segmentor, tmp_path):
    photo = tiny.write_photo(tmp_path / 'p.png')
    faulty = tmp_path / 'faulty.py'
    faulty.write_text('a = nowhere\n')
    assert "faulty.py cannot be read as a config (NameError: name 'nowhere'" in refused(
        photo, faulty, segmentor.checkpoint
    )
    faulty.write_text('a = 1\n')
    assert 'faulty.py has no model: give' in refused(photo, faulty, segmentor.checkpoint)


def test_missing_checkpoint(refused, segmentor, tmp_path):
    photo = tiny.write_photo(tmp_path / 'p.png')
    assert 'CHECKPOINT is missing' in refused(photo, segmentor.config)
    assert 'does not exist' in refused(photo, segmentor.config, 'nowhere.pth')


def test_what_is_no_checkpoint_of_the_model(refused, segmentor, tmp_path):
    photo = tiny.write_photo(tmp_path / 'p.png')
    assert 'is a folder' in refused(photo, segmentor.config, tmp_path)
    assert f'{photo} cannot be read as a checkpoint' in refused(photo, segmentor.config, photo)
    torch.save(torch.load(segmentor.checkpoint)['state_dict'], tmp_path / 'bare.pth')
    assert 'bare.pth holds weights alone' in refused(photo, segmentor.config, tmp_path / 'bare.pth')
    torch.save(dict(state_dict={'roi_head.weight': torch.zeros(3)}, meta={}), tmp_path / 'o.pth')
    assert 'o.pth does not fit the model of the config (Missing key(s): ' in refused(
        photo, segmentor.config, tmp_path / 'o.pth'
    )


@pytest.mark.parametrize(
    'options, words',
    [
        (('--cfg-options', 'model.backbone.time_step=3'), "no option 'time_step'; did you mean"),
        (('--device', 'cuda:99'), '--device cuda:99 cannot be used'),
        (('--out-dir', '/proc/nothing'), '--out-dir /proc/nothing cannot be written'),
        (('--opacity', '1.5'), '--opacity'),
        (('--generate', '--T', '1000'), 'T = 1000'),
        (('--generate', '--copies', '0'), 'copies_per_source'),
        (('--generate', '--solver', 'euler'), 'solver'),
        (('--generate', '--T', '90', '--steps', '91'), 'steps = 91'),
        (('--generate', '--prompt', 'x' * 200), 'token'),
        (('--generate', '--prompt', '', '--guidance-scale', '3'), 'guidance_scale = 3.0 changes'),
        (('--cfg-options', 'default_scope=mmpose'), 'mmpose'),
    ],
)
def test_options_out_of_range(refused, segmentor, tmp_path, options, words):
    photo = tiny.write_photo(tmp_path / 'p.png')
    assert words in refused(photo, segmentor.config, segmentor.checkpoint, *options)


def test_pictures_replace_no_image(refused, segmentor, photos):
    sentence = refused(photos, segmentor.config, segmentor.checkpoint, '--out-dir', photos)
    assert '--out-dir' in sentence
    assert (photos / 'b.png').read_bytes() == b'no image'


def test_generate_needs_a_diffusion_model(refused, tmp_path):
    config = tmp_path / 'config.py'
    text = tiny.SEGMENTOR.replace('DiffusionBackbone', 'mmseg.UNet').replace(
        'diffusion={pipeline!r}',
        'base_channels=16, num_stages=2, strides=(1, 1), '
        'dec_num_convs=(2, ), downsamples=(True, ), enc_num_convs=(2, 2), '
        'enc_dilations=(1, 1), dec_dilations=(1, )',
    )
    config.write_text(
        text.format(classes=tiny.CLASSES, palette=tiny.PALETTE, names={}).replace(
            'in_channels=16, channels=8, in_index=0', 'in_channels=32, channels=8, in_index=0'
        )
    )
    checkpoint = tiny.write_checkpoint(str(config), tmp_path / 'w.pth')
    photo = tiny.write_photo(tmp_path / 'p.png')
    assert 'has no diffusion model' in refused(photo, config, checkpoint, '--generate')


def test_a_class_conditional_model_alone(demo, tmp_path):
    folder = save('ddpm', tmp_path / 'model', num_class_embeds=5)
    photo = tiny.write_photo(tmp_path / 'photo.png')
    asked = [photo, '--diffusion', folder, '--out-dir', str(tmp_path / 'out'), '--steps', '1', '--label', '4']
    demo.main(asked)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['photo_look.png']


def test_words_are_drawn_where_the_model_looks_for_them(demo, tmp_path, refused):
    photo = tiny.write_photo(tmp_path / 'photo.png')
    asked = [photo, '--out-dir', str(tmp_path / 'out'), '--steps', '1', '--T', '100']
    demo.main([*asked, '--words', 'lamp', 'window'])
    drawn = cv2.imread(str(tmp_path / 'out' / 'photo_look.png'))
    assert drawn.shape[0] > 3 * 192  # features, words, variants
    assert 'give two or more, to a Stable Diffusion' in refused(*asked, '--words', 'lamp')
