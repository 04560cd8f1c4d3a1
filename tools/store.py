"""Looks after folders of synthetic samples: what they hold, whether it is whole; to other tools and back."""

import argparse

from diff2in1_commands import new_parser, program

EXAMPLES = """\
examples:
  python tools/store.py stats work_dirs/rooms/synthetic
  # reads every file; status 1 if one is not as it was written
  python tools/store.py verify work_dirs/rooms/synthetic
  # the shares of a job array (tools/create_data.py --shard), and the one file that holds all boxes
  python tools/store.py join STORE PART0 PART1 PART2
  # to where many machines read it, as tar files, and back
  python tools/store.py pack work_dirs/rooms/synthetic s3://bucket/rooms
  python tools/store.py unpack s3://bucket/rooms work_dirs/rooms/synthetic
  # in another tool's format; labels that were corrected there, which training does not overwrite any more
  python tools/store.py export work_dirs/rooms/synthetic --to cvat --out for_cvat
  python tools/store.py import work_dirs/rooms/synthetic --from cvat annotations.xml"""

# of diff2in1_mm.formats
FORMATS = 'coco voc yolo cityscapes masks cvat label-studio fiftyone hf-datasets webdataset'.split()
READERS = 'coco masks cvat'.split()

# A subcommand is a pair of functions: `add_...` names its options, and what `run` is set to does the work; that one
# imports what it needs, as the options of all of them are told without waiting for any library.


def add_stats(commands) -> None:
    parser = commands.add_parser('stats', help='what a store holds: samples by round, strength and checkpoint; bytes')
    parser.add_argument('store', help='folder that tools/create_data.py or a training run wrote')
    parser.add_argument('--json', action='store_true', help='the same as JSON')
    parser.set_defaults(run=run_stats)


def run_stats(args: argparse.Namespace) -> int:
    import json

    from diff2in1_mm.store.store import SyntheticStore
    from diff2in1_mm.store.upkeep import stats

    found = stats(SyntheticStore(args.store))
    if args.json:
        print(json.dumps(found))
        return 0
    pictures = f' ({found["unlabelled"]} of them unlabelled pictures as they were)' if found['unlabelled'] else ''
    held = f'{found["samples"]} samples{pictures}, {found["damaged"]} damaged, {found["bytes"] / 1e6:.1f} MB'
    print(f'{args.store}: {held}')
    for name in ('rounds', 'T', 'checkpoints', 'quality', 'classes'):
        values = ', '.join(
            f'{key}: {value:.4g}' if name in ('quality', 'classes') else f'{key}: {value}'
            for key, value in found[name].items()
        )
        print(f'{name}: {values}')
    return 0


def add_verify(commands) -> None:
    parser = commands.add_parser('verify', help='read every file, and name what is not as it was written')
    parser.add_argument('store', help='folder that tools/create_data.py or a training run wrote')
    parser.set_defaults(run=run_verify)


def run_verify(args: argparse.Namespace) -> int:
    from diff2in1_mm.store.store import SyntheticStore
    from diff2in1_mm.store.upkeep import verify

    store, wrong = SyntheticStore(args.store, warn=False), 0
    for id, why in verify(store):
        print(f'{id}: {why}')
        wrong += 1
    print(
        f'{args.store}: {len(store)} samples read, {wrong} damaged'
        + ('; create again, and they are made anew' if wrong else '')
    )
    return int(wrong > 0)


def add_export(commands) -> None:
    parser = commands.add_parser('export', help="the accepted samples in another tool's format")
    parser.add_argument('store', help='folder that tools/create_data.py or a training run wrote')
    parser.add_argument('--to', required=True, choices=FORMATS, help='see docs/formats.md')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='new or empty')
    parser.add_argument('--round', type=int, help='only the samples of this round; default all')
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    from diff2in1_mm.formats import export
    from diff2in1_mm.store.store import SyntheticStore
    from diff2in1_mm.utils.errors import UserError

    store = SyntheticStore(args.store)
    rounds = sorted(store.rounds())
    if args.round is not None and rounds and args.round not in rounds:
        listed = ', '.join(map(str, rounds))
        raise UserError(f'{args.store} has no samples of --round {args.round}: give one of {listed}, or leave it out')
    written = export(store, args.to, args.out, args.round)
    print(f'{args.out}: {written} samples as {args.to}')
    return 0


def add_import(commands) -> None:
    parser = commands.add_parser('import', help='labels that people have corrected; theta_C does not overwrite them')
    parser.add_argument('store', help='folder that tools/create_data.py or a training run wrote')
    parser.add_argument('path', help='file or folder that the other tool has exported')
    parser.add_argument('--from', dest='source', required=True, choices=READERS, help='see docs/formats.md')
    parser.add_argument('--by', help='who has corrected them; default the user of this process')
    parser.set_defaults(run=run_import)


def run_import(args: argparse.Namespace) -> int:
    from diff2in1_mm.formats import import_labels
    from diff2in1_mm.store.store import SyntheticStore

    taken, same = import_labels(SyntheticStore(args.store), args.source, args.path, args.by)
    print(f'{args.store}: {taken} labels taken, {same} say what was there')
    return 0


def add_join(commands) -> None:
    parser = commands.add_parser(
        'join', help='one store of several, such as those of a job array, and its merged files'
    )
    parser.add_argument('store', help='folder of the new store')
    parser.add_argument(
        'parts',
        nargs='*',
        help='stores to join; none: STORE was written by all, and only lacks instances.json and such',
    )
    parser.add_argument(
        '--incomplete', action='store_true', help='join what is there, though a share of the job array is missing'
    )
    parser.set_defaults(run=run_join)


def run_join(args: argparse.Namespace) -> int:
    from diff2in1_mm.store.joining import join

    store = join(args.store, args.parts, args.incomplete)
    print(f'{args.store}: {len(store)} samples')
    return 0


def add_pack(commands) -> None:
    parser = commands.add_parser('pack', help='a store as a few tar files (WebDataset), on a disk or in a cloud')
    parser.add_argument('store', help='folder of the store')
    parser.add_argument('url', help="folder, or URL that fsspec knows, such as 's3://bucket/rooms'")
    parser.add_argument('--per-file', type=int, default=1000, help='samples of a file; default 1000')
    parser.set_defaults(run=run_pack)


def run_pack(args: argparse.Namespace) -> int:
    from diff2in1_mm.store.packing import pack
    from diff2in1_mm.store.store import SyntheticStore

    print(f'{args.url}: {pack(SyntheticStore(args.store), args.url, args.per_file)} samples')
    return 0


def add_unpack(commands) -> None:
    parser = commands.add_parser('unpack', help='the store that was packed')
    parser.add_argument('url', help='what was given to pack')
    parser.add_argument('store', help='folder of the new store')
    parser.set_defaults(run=run_unpack)


def run_unpack(args: argparse.Namespace) -> int:
    from diff2in1_mm.store.packing import unpack

    print(f'{args.store}: {len(unpack(args.url, args.store))} samples')
    return 0


#: subcommand -> what adds its parser
SUBCOMMANDS = {
    'stats': add_stats,
    'verify': add_verify,
    'join': add_join,
    'export': add_export,
    'import': add_import,
    'pack': add_pack,
    'unpack': add_unpack,
}


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for add in SUBCOMMANDS.values():
        add(commands)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)

    from diff2in1_mm.utils.errors import told_in_a_sentence

    with told_in_a_sentence(program()):
        raise SystemExit(args.run(args))


if __name__ == '__main__':
    main()
