"""A process is known by more than its pid."""

import subprocess
import sys
from dataclasses import replace

from engine.process_identity import ProcessIdentity


def test_this_process_lives():
    me = ProcessIdentity.current()
    assert me.is_alive and me.is_local


def test_a_process_that_ended_does_not_live_even_before_it_is_collected(until):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(process.pid)
    assert identity.is_alive
    process.kill()
    process.stdin.close()
    until(lambda: not identity.is_alive, "the kernel to make it a zombie")
    assert ProcessIdentity.of(process.pid) is None
    process.wait()
    assert not identity.is_alive


def test_another_program_with_the_same_pid_is_another_process():
    me = ProcessIdentity.current()
    assert not replace(me, started_s=me.started_s - 60).is_alive


def test_the_same_pid_after_a_reboot_is_another_process():
    assert not replace(ProcessIdentity.current(), boot_id="an earlier boot").is_alive


def test_a_process_of_another_host_is_not_judged_here():
    assert not replace(ProcessIdentity.current(), host="elsewhere").is_local
