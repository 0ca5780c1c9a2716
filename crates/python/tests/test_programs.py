"""Whole programs under every start method: what they print is in their docstring, and nothing goes to stderr."""

import ast
import os
import pathlib
import signal
import subprocess
import sys

import pytest

PROGRAMS = sorted((pathlib.Path(__file__).parent / 'programs').glob('*.py'))


def printed(program):
    """What the docstring says after its first paragraph."""
    text = ast.get_docstring(ast.parse(program.read_text()))
    return text.partition('\n\n')[2] + '\n'


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda program: program.stem)
def test_program(program, method, tmp_path):
    # A session of its own, so that whatever is left of it can be told.
    process = subprocess.Popen(
        [sys.executable, program, method], cwd=tmp_path, stdin=subprocess.DEVNULL, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f'still running after 60 s\n{out}\n{err}')
    assert (out, err, process.returncode) == (printed(program), '', 0)
