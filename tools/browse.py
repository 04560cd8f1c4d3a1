"""Shows a store's samples in the browser: source beside sample beside label; keep, reject, undo by keyboard.

What is rejected leaves training at its next start. The page is for this machine alone, and fetches nothing from
elsewhere."""

import argparse

from diff2in1_commands import new_parser, program, stop

EXAMPLES = """\
examples:
  python tools/browse.py work_dirs/diff2in1_rooms/synthetic
  # with the data set's own colours, and its real images counted by class
  python tools/browse.py work_dirs/diff2in1_rooms/synthetic --config configs/diff2in1_rooms.py
  # beside the labels that another checkpoint gave the same samples
  python tools/browse.py STORE --beside OTHER_STORE
  # 200 of them as a folder of plain files, for a report
  python tools/browse.py STORE --html report

On another machine: ssh -L 8200:127.0.0.1:8200 THAT_MACHINE, and there --port 8200."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('store', help='folder of synthetic samples')
    parser.add_argument('--config', help='of the run: colours of its classes, and its real images, counted by class')
    parser.add_argument('--beside', metavar='STORE', help='labels of the same samples by another checkpoint')
    parser.add_argument(
        '--diversity', action='store_true', help='work out how far each sample is from its source (reads all images)'
    )
    parser.add_argument('--port', type=int, default=0, help='default: one that is free')
    parser.add_argument('--no-browser', action='store_true', help='print the address, and open nothing')
    parser.add_argument('--html', metavar='FOLDER', help='write the page into a folder, and serve nothing')
    parser.add_argument(
        '--limit', type=int, default=200, help='with --html: samples, spread over all (default: %(default)s)'
    )
    parser.add_argument('--sort', default='id', help='with --html: a figure such as confidence (default: %(default)s)')
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        stop(f'--port {args.port} is no port: give one from 1024 to 65535, or leave it out')
    if args.limit < 1:
        stop(f'--limit {args.limit} shows nothing: give 1 or more')
    return args


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import webbrowser
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.browse.catalogue import Query
from diff2in1_mm.browse.export import write_folder
from diff2in1_mm.browse.server import BrowseServer
from diff2in1_mm.browse.session import Session
from diff2in1_mm.creation.describe import SourceDescriber
from diff2in1_mm.creation.plan import source_entry, source_indices
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence


def real_data(config: str) -> Any:
    """The training data of a config, without what mixes samples into it."""
    from mmengine.registry import DATASETS, init_default_scope

    from diff2in1_mm.launch.config import load_config
    from diff2in1_mm.launch.read_config import check_has

    cfg = load_config(argparse.Namespace(config=config, cfg_options=None, work_dir=None, launcher='none', local_rank=0))
    check_has(cfg, config, 'train_dataloader')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = cfg.train_dataloader.dataset
    return DATASETS.build(dataset.dataset if dataset.type == 'SyntheticMixDataset' else dataset)


def classes_of_real(dataset: Any) -> Iterator[tuple[str, ...]]:
    """Names of the classes that each real image shows."""
    describe = SourceDescriber(dataset, SimpleNamespace(wants_classes=True))
    for index in source_indices(dataset):
        yield describe(source_entry(dataset, index), index).classes


def make_session(args: argparse.Namespace) -> tuple[Session, Iterator[tuple[str, ...]]]:
    """What the page is told, and the real images' classes."""
    dataset = real_data(args.config) if args.config else None
    classes = None if dataset is None else dataset.metainfo.get('classes')
    store = SyntheticStore(args.store, classes=classes)
    beside = SyntheticStore(args.beside) if args.beside else None
    palette = None if dataset is None else dataset.metainfo.get('palette')
    session = Session(store, beside, palette, args.diversity)
    return session, iter(()) if dataset is None or not classes else classes_of_real(dataset)


def serve(args: argparse.Namespace, session: Session, real: Iterator[tuple[str, ...]]) -> None:
    """Until the keyboard interrupts."""
    try:
        server = BrowseServer(session, args.port)
    except OSError as error:
        raise UserError(f'port {args.port} cannot be had ({error}): leave out --port, or give another') from error
    session.start(real)
    print(f'{args.store}: {len(session.catalogue.records)} samples at {server.address}\nCtrl+C ends it.', flush=True)
    if not args.no_browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        session.catalogue.stop()
        server.server_close()


def main(argv=None) -> None:
    args = parse_args(argv)
    with told_in_a_sentence(program()):
        session, real = make_session(args)
        if args.html:
            session.count_real(real)
            written = write_folder(session, args.html, Query(sort=args.sort), args.limit)
            print(f'\n{written} samples: open {args.html}/index.html')
        else:
            serve(args, session, real)


if __name__ == '__main__':
    main()
