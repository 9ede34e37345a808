"""The filter of system calls, by an interpreter of its program, on every machine that it is made for; and by the kernel."""

import ctypes
import os
import re
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox import Ask, bwrap, seccomp

EPERM, ENOSYS, EAFNOSUPPORT = (seccomp.ERRNO | number for number in (1, 38, 97))
machines = pytest.mark.parametrize("name", seccomp.MACHINES)


def answer(name, number, *arguments, audit=None, shared=False):
    """What the kernel would make of a call: the program's return value."""
    machine = seccomp.MACHINES[name]
    filled = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, audit or machine.audit, 0, *filled)
    steps = list(struct.iter_unpack("=HBBI", seccomp.assembled(name, shared)))
    at = held = 0
    while True:
        code, true, false, value = steps[at]
        at += 1
        if code == seccomp.LOAD:
            held = struct.unpack_from("<I", data, value)[0]
        elif code == seccomp.AND:
            held &= value
        elif code == seccomp.RETURN:
            return value
        else:
            met = {
                seccomp.EQUAL: held == value,
                seccomp.AT_LEAST: held >= value,
                seccomp.ABOVE: held > value,
                seccomp.ANY_OF: bool(held & value),
            }[code]
            at += true if met else false


@machines
@given(number=st.integers(0, 520), first=st.integers(0, 2**64 - 1), second=st.integers(0, 2**64 - 1))
def test_what_is_listed_is_denied_and_nothing_else_that_needs_no_second_look(name, number, first, second):
    """A jump that is off by one would open what is listed, or close what programs live by."""
    machine = seccomp.MACHINES[name]
    looked_at = (machine.clone, machine.ioctl, machine.personality, machine.socket, machine.setsockopt)
    if number in looked_at:
        return
    denied = number in {row[machine.column] for row in seccomp.DENIED.values()}
    absent = number > seccomp.LAST or number == seccomp.CLONE3
    wanted = EPERM if denied else ENOSYS if absent else seccomp.ALLOW
    assert answer(name, number, first, second) == answer(name, number, first, second, shared=True) == wanted


@machines
@given(flags=st.integers(0, 2**64 - 1), high=st.sampled_from([0, 1 << 32, 0xFFFFFFFF << 32]))
def test_what_depends_on_arguments_is_told_by_the_half_that_the_kernel_reads(name, flags, high):
    """New namespaces, terminals' input, address families: denied also with noise above; threads and debuggers work."""
    machine = seccomp.MACHINES[name]
    assert (answer(name, machine.clone, flags) == EPERM) == bool(flags & seccomp.NEW_NAMESPACES)
    assert (answer(name, machine.socket, flags) == seccomp.ALLOW) == (flags & 0xFFFFFFFF in (1, 2, 10, 16))
    allowed = flags & 0xFFFFFFFF == 0xFFFFFFFF or not flags & 0xFFFFFFFF & ~0x60008
    assert (answer(name, machine.personality, flags) == seccomp.ALLOW) == allowed
    for family in range(50):
        wanted = seccomp.ALLOW if family in (1, 2, 10, 16) else EAFNOSUPPORT
        assert answer(name, machine.socket, family | high) == wanted
    for request, wanted in ((0x5412, EPERM), (0x541C, EPERM), (0x5413, seccomp.ALLOW), (0x5401, seccomp.ALLOW)):
        assert answer(name, machine.ioctl, 0, request | high) == wanted
    for persona, wanted in ((0xFFFFFFFF, seccomp.ALLOW), (0x40000, seccomp.ALLOW), (0x400000, EPERM), (6, EPERM)):
        assert answer(name, machine.personality, persona | high) == wanted


@machines
@given(level=st.integers(0, 50), option=st.integers(0, 80), high=st.sampled_from([0, 1 << 32]))
def test_with_the_hosts_network_no_socket_is_bound_to_an_interface(name, level, option, high):
    """It would find the metadata service past the rules that keep a job from it; and so would one of IPv6."""
    machine = seccomp.MACHINES[name]
    denied = (level, option) in {(1, 25), (1, 62), (0, 4), (0, 50)}
    wanted = EPERM if denied else seccomp.ALLOW
    assert answer(name, machine.setsockopt, 5, level | high, option | high, shared=True) == wanted
    assert answer(name, machine.setsockopt, 5, level, option) == seccomp.ALLOW
    for family in range(50):
        wanted = seccomp.ALLOW if family in (1, 2, 16) else EAFNOSUPPORT
        assert answer(name, machine.socket, family | high, shared=True) == wanted


@machines
def test_another_table_of_calls_is_none(name):
    """32-bit and x32 programs use other numbers for the same calls."""
    assert answer(name, 20, audit=0x40000003) == seccomp.KILL
    assert answer(name, -1) == ENOSYS
    if seccomp.MACHINES[name].x32:
        assert answer(name, seccomp.X32_BIT | 165) == ENOSYS


@pytest.mark.parametrize(
    ("name", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_calls_have_the_numbers_that_the_kernel_gives_them(name, header):
    """A wrong one would open what it names, and close something else."""
    if not os.path.exists(header):
        pytest.skip("the kernel's headers are not on this machine")
    with open(header) as file:
        said = {call: int(number) for call, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read())}
    machine = seccomp.MACHINES[name]
    ours = {call: row[machine.column] for call, row in seccomp.DENIED.items()}
    ours |= {call: getattr(machine, call) for call in ("clone", "ioctl", "personality", "socket", "setsockopt")}
    ours["clone3"] = seccomp.CLONE3
    assert {call: number for call, number in ours.items() if call in said} == {
        call: said[call] for call in ours if call in said
    }
    assert not [call for call, number in ours.items() if number < 0 and call in said]
    assert len(said.keys() & ours.keys()) > 45


@machines
def test_the_program_is_one_that_the_kernel_takes(name):
    """No jump leaves it, it ends in an answer, and it is far below 4,096 instructions."""
    for shared in (False, True):
        steps = seccomp.program(seccomp.MACHINES[name], shared)
        assert steps[-1].code == seccomp.RETURN
        assert len(steps) < 256
        assert all(at + 1 + max(step.true, step.false) < len(steps) for at, step in enumerate(steps[:-1]))


def in_a_sandbox(tmp_path, command):
    found, why = bwrap.find(str(tmp_path / "probe"), 200001)
    assert found is not None, why
    for name in ("work", "tmp"):
        (tmp_path / name).mkdir()
        if found.drops_uid:
            os.chown(tmp_path / name, 200001, 200001)
    launch = found.launch(Ask(command, str(tmp_path / "work"), str(tmp_path / "tmp"), False, {}, "job-1", 1, 200001))
    try:
        return subprocess.run(
            launch.argv, env=dict(launch.environment), pass_fds=launch.inherit, capture_output=True, text=True
        )
    finally:
        for fd in launch.inherit:
            os.close(fd)


@pytest.mark.usefixtures("sandboxed")
def test_the_kernel_holds_a_command_to_it(tmp_path):
    """Calls that an ordinary user may make here, and not there. Each is tried outside of the sandbox, too: else this would show nothing."""
    calls = {name: row[seccomp.MACHINES[os.uname().machine].column] for name, row in seccomp.DENIED.items()}
    said = "import ctypes; c = ctypes.CDLL(None, use_errno=True); "
    said += "print([(c.syscall(*a), ctypes.get_errno())[1] for a in %s])"
    # io_uring without a place for its parameters: EFAULT (14) if it exists; get_mempolicy with none to write to: 0.
    tries = [(calls["io_uring_setup"], 1, None), (calls["get_mempolicy"], None, None, 0, None, 0), (1000,)]
    libc = ctypes.CDLL(None, use_errno=True)
    outside = [(libc.syscall(*one), ctypes.get_errno())[1] for one in tries]
    done = in_a_sandbox(tmp_path, "python3 -c '%s'" % (said % tries))
    assert done.stdout == "[1, 1, 38]\n", done.stderr
    assert 1 not in outside


@pytest.mark.usefixtures("sandboxed")
def test_compilers_debuggers_and_runtimes_work_under_it(tmp_path):
    """Those of them that are on this machine."""
    command = """
    set -e
    if command -v gcc; then echo 'int main(void) { return 0; }' > a.c; gcc -g a.c -o a; ./a
        if command -v gdb; then gdb -batch -ex run ./a 2>&1 | grep 'exited normally'; fi; fi
    if command -v node; then node -e 'setTimeout(() => console.log("hi"), 1)'; fi
    setarch -R true
    grep 'Seccomp:.2' /proc/self/status
    python3 -c 'import threading, subprocess, multiprocessing as m
t = threading.Thread(target=print); t.start(); t.join(); subprocess.run(["true"], check=True)
p = m.Process(target=print); p.start(); p.join(); m.Lock(); assert p.exitcode == 0'
    echo all work"""
    done = in_a_sandbox(tmp_path, command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all work\n")
