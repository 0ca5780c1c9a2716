"""``python -m ginnel bench`` runs, and says what it promises. No figure is looked at."""

import json
import subprocess
import sys

from ginnel import bench


def test_every_row_has_its_goals():
    for row, kinds, goals in bench.ROWS:
        makers = kinds()
        assert {'multiprocessing', 'ginnel'} <= set(makers) and row.__doc__
        assert set(goals) <= {'multiprocessing', 'faster_fifo', 'UltraDict'}


def test_the_command():
    command = [sys.executable, '-m', 'ginnel', 'bench', '--json', '--only', 'lock_creation', '--passes', '1']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
    [row] = json.loads(done.stdout)['rows']
    assert row['us']['ginnel'] > 0 and row['times_faster_than']['multiprocessing'] > 0


def test_the_table(capsys):
    assert bench.main(['--only', 'lock', '--passes', '1']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and 'acquire and release a free lock' in lines[1]
