"""What a process and its children use."""

import os
import subprocess
import sys

import pytest

from telemetry.usage import usage

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system has no /proc")


@needs_proc
def test_a_child_s_memory_and_files_count_as_its_parent_s() -> None:
    """A child that holds 50 MB and two files more: both are seen from here, and are gone with it."""
    before = usage(os.getpid())
    hold = (
        "import sys; held = bytearray(50_000_000); a = open('/dev/null'); b = open('/dev/null'); print('up', flush=True); input()"
    )
    child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    during = usage(os.getpid())
    child.communicate(b"\n")
    after = usage(os.getpid())
    assert before and during and after
    assert during.resident - before.resident > 50_000_000 and during.files - before.files >= 5
    assert after.resident < during.resident and after.cpu_s >= before.cpu_s > 0


@needs_proc
def test_a_process_that_is_gone_uses_nothing_that_is_known() -> None:
    """No such process."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert usage(child.pid) is None
