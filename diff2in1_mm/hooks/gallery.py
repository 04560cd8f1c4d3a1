"""One picture of what a run did: real images, predictions, synthetic images and their labels."""

import os.path as osp
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..creation.agreement import labels_of_sources
from ..creation.batch_labels import BatchLabels
from ..creation.plan import source_entry
from ..creation.stage import mixed_dataset
from ..datasets.source_images import load_image, turns_images
from ..store.listing import made_of
from ..store.records import SampleRecord
from ..store.store import SyntheticStore
from ..utils.errors import first_line
from ..utils.models import evaluating, unwrapped
from ..utils.pictures import contact_sheet, label_colours, with_legend, write_picture
from ..utils.values import spread_over


@HOOKS.register_module()
class GalleryHook(Hook):
    """Writes ``WORK_DIR/gallery.png`` at the end of a run with synthetic samples.

    Predictions are theta_C's of that moment, labels those of the creation. The real images' own labels stand between
    them where the data set has any. MMEngine's visualizer gets the picture too, for TensorBoard or WandB.

    Args:
        count (int): Samples, taken evenly from the store. Default 6.
        opacity (float): Of the class colours over the image, in [0, 1]. Default 0.7.
    """

    priority = 'LOW'  # after SelfImprovingHook

    def __init__(self, count: int = 6, opacity: float = 0.7) -> None:
        self.count, self.opacity = count, opacity

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw the picture and log where it is, or why there is none: no picture is worth a run that has ended well."""
        try:
            self._draw(runner)
        except Exception as error:
            runner.logger.warning(f'No gallery is drawn ({type(error).__name__}: {first_line(error)}).')

    def _draw(self, runner: Runner) -> None:
        hook = next((h for h in runner.hooks if getattr(h, 'served_round', None) is not None), None)
        if hook is None:  # no synthetic samples, or stopped early, before anything was created
            return
        dataset = mixed_dataset(runner)
        store = SyntheticStore(dataset.store_root)
        records, model = made_of(store.accepted(hook.served_round)), unwrapped(runner)
        if not records:  # or unlabelled pictures alone, which have no real image above them
            return
        with hook.theta_c.applied(model), evaluating(model):
            settings = hook.creation
            labelling = settings.get('labelling')
            labels = BatchLabels(model, 'fresh', settings.get('confidence'), labelling, settings.get('label_scale'))
            truth = labels_of_sources(model, dataset, labelling)
            chosen = [records[i] for i in spread_over(len(records), self.count)]
            columns = [self._column(labels, truth, dataset, store, record) for record in chosen]
        path = osp.join(runner.work_dir, 'gallery.png')
        sheet = contact_sheet(list(zip(*columns)), _titles(store.tasks, truth is not None))
        sheet = with_legend(sheet, *_shown_classes(dataset, store, chosen))
        write_picture(path, sheet)
        runner.visualizer.add_image('gallery', sheet, step=runner.iter)
        runner.logger.info(f'Real images, predictions and synthetic samples: {path}')

    def _column(
        self, labels: BatchLabels, truth: BatchLabels | None, dataset: Any, store: SyntheticStore, record: SampleRecord
    ) -> list[np.ndarray]:
        """The pictures of one sample, each uint8 (H, W, 3) RGB."""
        colours = label_colours(len(dataset.metainfo.get('classes') or ()), dataset.metainfo.get('palette'))
        entry = source_entry(dataset, record.source)
        image, annotations = store.read(record)
        turn = turns_images(dataset, record.source)
        real = load_image(entry['img_path'], image.shape[1::-1], False, turn, entry['backend_args'])
        device = next(labels.model.parameters()).device
        pixels = torch.from_numpy(real.copy()).permute(2, 0, 1)[None].to(device)
        (label,) = labels(pixels, {}, [entry])  # None: nothing found

        def drawn(picture: np.ndarray, found: Mapping[str, Any]) -> list[np.ndarray]:
            return [
                store.codecs[task].draw(picture, found[task], colours, entry, self.opacity) if found else picture
                for task in store.tasks
            ]

        own, known = [], None
        if truth is not None:
            with suppress(Exception):  # of whatever reads labels: a damaged file has the image alone
                (known,) = truth(pixels, {}, [entry])
            own = drawn(real, known.annotation if known else {})
        return [real, *own, *drawn(real, label.annotation if label else {}), image, *drawn(image, annotations)]


def _shown_classes(dataset: Any, store: SyntheticStore, records: Sequence[SampleRecord]) -> tuple[list, np.ndarray]:
    """Names and colours of the classes in samples' labels."""
    names = dataset.metainfo.get('classes') or ()
    colours = label_colours(len(names), dataset.metainfo.get('palette'))
    shown: set[str] = set()
    for record in records:
        entry = source_entry(dataset, record.source)
        for task, annotation in store.read(record)[1].items():
            shown |= set(store.codecs[task].shown(annotation, entry))
    places = [place for place, name in enumerate(names) if name in shown]
    return [names[place] for place in places], colours[places]


def _titles(tasks: Sequence[str], truth: bool) -> list[str]:
    """Of the rows; several tasks have a row each."""
    of = [f' ({task})' if len(tasks) > 1 else '' for task in tasks]
    return [
        'real images',
        *(f'ground truth of the real images{text}' for text in of if truth),
        *(f'prediction for the real images{text}' for text in of),
        'synthetic images, each made of the real one above',
        *(f'labels of the synthetic images{text}' for text in of),
    ]
