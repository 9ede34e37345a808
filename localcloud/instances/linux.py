"""The few Linux calls that Python's standard library lacks, through the C library.

Used by processes that must stay small and single-threaded (the hypervisor and each machine's init), so nothing here
imports more than ctypes. Every call raises OSError with the call's name.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
# What root in a machine never needs and the host would feel: modules, raw I/O, device nodes, the clock.
CAPABILITIES_DROPPED = (16, 17, 25, 27)  # SYS_MODULE, SYS_RAWIO, SYS_TIME, MKNOD

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); `kind` is the filesystem type, `data` its options."""
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {source or kind} on {target}",
    )


def bind(source: str, target: str, read_only: bool = False, recursive: bool = False) -> None:
    """Show `source` at `target`, which must exist. Read-only holds for the top mount, which is all that a host's /usr has."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        # A remount must repeat the flags that an outer owner locked (nosuid, nodev …), else the kernel refuses it.
        held = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | held)


def unmount(target: str) -> None:
    """Detach `target` at once, even when it is busy."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.pivot_root(new_root.encode(), put_old.encode()), f"pivot_root {new_root}")


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` (CLONE_NEW…)."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def enter_namespace(file: int, kind: int) -> None:
    """setns(2): enter the namespace of the open `file`."""
    _check(_libc.setns(file, kind), f"setns {kind:#x}")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def die_with_parent(signal_number: int) -> None:
    """Ask for `signal_number` when the parent process ends. Only in single-threaded parents: it is the thread that counts."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PDEATHSIG")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl CHILD_SUBREAPER")


def drop_host_capabilities() -> None:
    """Give up, for good, what only a host's root needs. Ignored where the process never had it."""
    for capability in CAPABILITIES_DROPPED:
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
