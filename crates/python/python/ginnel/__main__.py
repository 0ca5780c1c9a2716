"""``python -m ginnel``: named segments, whether this machine has what the package needs, and how fast it is."""

import argparse
import json
import sys

from . import _ginnel


def ls(options):
    """The named segments of this user and who is attached."""
    found = [segment for name in _ginnel.names() if (segment := _ginnel.inspect(name))]
    if options.json:
        keys = 'name', 'used', 'limit', 'alive', 'dead', 'objects', 'persistent'
        for segment in found:
            print(json.dumps(dict(zip(keys, segment, strict=True))))
    elif not found:
        print('no named segments')
    else:
        print(f'{"NAME":<24} {"USED KiB":>12} {"ALIVE":>6} {"DEAD":>5} {"OBJECTS":>8}')
        for name, used, _, alive, dead, objects, persistent in found:
            note = '  persistent' if persistent else '' if alive else '  stale'
            print(f'{name:<24} {used // 1024:>12} {alive:>6} {dead:>5} {objects:>8}{note}')
    return 0


def gc(options):
    """Removes named segments that no process uses."""
    present = _ginnel.names()
    status = 0
    for name in present if options.all else options.names:
        if name not in present:
            print(f'there is no segment {name!r}', file=sys.stderr)
            status = 1
        else:
            print(f'{name}: {"removed" if _ginnel.collect(name) else "in use, kept"}')
    return status


def doctor(options):
    """Tries what the package needs."""
    from ._doctor import findings
    status = 0
    for level, found in findings():
        print(json.dumps({'level': level, 'found': found}) if options.json else f'{level:<5} {found}', flush=True)
        status |= level == 'fail'
    return int(status)


def bench(options):
    """Measures against multiprocessing and what else is installed."""
    from . import bench as measure
    return measure.main(options.arguments)


def main(arguments=None):
    """Runs a command; gives the exit status."""
    parser = argparse.ArgumentParser(prog='python -m ginnel', description=__doc__.partition(': ')[2])
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(name, run):
        made = commands.add_parser(name, help=run.__doc__, description=run.__doc__, add_help=name != 'bench')
        made.set_defaults(run=run)
        return made

    command('ls', ls).add_argument('--json', action='store_true', help='one object a line')
    collect = command('gc', gc)
    collect.add_argument('names', nargs='*', metavar='NAME')
    collect.add_argument('--all', action='store_true', help='all of this user')
    command('doctor', doctor).add_argument('--json', action='store_true', help='one object a line')
    command('bench', bench)
    options, rest = parser.parse_known_args(arguments)
    if options.run is bench:
        options.arguments = rest
    elif rest:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    return options.run(options)


if __name__ == '__main__':
    sys.exit(main())
