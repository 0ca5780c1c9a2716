"""What every test here has: a watchdog, and a look at what it leaves behind."""

import faulthandler
import multiprocessing
import os

import pytest

METHODS = ('fork', 'spawn', 'forkserver')
LIMIT = float(os.environ.get('GINNEL_TEST_LIMIT', 120))


def pytest_configure(config):
    """Where the watchdog writes: past the capture of output, which would be lost with the process."""
    global _stderr
    with config.pluginmanager.getplugin('capturemanager').global_and_fixture_disabled():
        _stderr = os.dup(2)


@pytest.fixture(autouse=True)
def watchdog():
    """A test that takes minutes hangs: its stacks are printed and the run ends."""
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nobody_left():
    """A test joins the children it starts."""
    yield
    for child in multiprocessing.active_children():
        child.join(10)
    left = multiprocessing.active_children()
    for child in left:
        child.kill()
        child.join()
    assert not left, f'{left} had not ended 10 s after the test'


@pytest.fixture(params=METHODS)
def method(request):
    """The name of a start method."""
    return request.param


@pytest.fixture
def ctx(method):
    """A context of ours for each start method."""
    import ginnel
    return ginnel.get_context(method)
