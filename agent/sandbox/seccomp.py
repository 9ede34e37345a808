"""The system calls that a command may not make, as a classic BPF program for bubblewrap's `--seccomp`.

What is denied is what Docker's default profile denies to a container without capabilities. Most of it needs a capability that the
command does not have anyhow, so this is a second fence, before the kernel's rarely used and often broken parts. On purpose different:

- a list of what is denied, not of what is allowed; but calls younger than LAST do not exist (ENOSYS, so that programs fall back as
  they would on an older kernel): what the next kernel brings is closed until somebody has looked at it;
- sockets of four families only (AF_VSOCK, packets, kernel crypto and the like: EAFNOSUPPORT), TIOCSTI and TIOCLINUX never;
- `personality` may switch off address randomisation, which debuggers and sanitizers ask for;
- 32-bit and x32 programs do not run: another table of calls would need another list.

Debuggers work (ptrace reaches a job's own processes only: others are in no namespace of theirs). New namespaces are denied however
they are asked for; `clone3`, whose flags a filter cannot see, does not exist, and the C library uses `clone`.

Commands that share the host's network are denied what leads a packet past routing rules, by which they are kept from the metadata
service (agent/firewall.py): a socket that is bound to an interface finds every address on its link, and IPv4 options name the way. A
connection to an IPv6 link-local address binds a socket, too, and where it leads is in memory, which a filter cannot see; so IPv6 is not
there at all.
"""

from __future__ import annotations

import functools
import platform
import struct
from typing import NamedTuple

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ABOVE, ANY_OF, AND, RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
X32_BIT = 0x40000000
LAST = 466  # removexattrat, the last call of Linux 6.13
NEW_NAMESPACES = 0x7E020000
FAMILIES = (1, 2, 10, 16)  # Unix, IPv4, IPv6, netlink
FAMILIES_SHARED = (1, 2, 16)
BINDING = ((1, (25, 62)), (0, (4, 50)))  # SO_BINDTODEVICE, SO_BINDTOIFINDEX; IP_OPTIONS, IP_UNICAST_IF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
PERSONALITIES = 0x20000 | 0x8 | 0x0040000  # UNAME26, PER_LINUX32, ADDR_NO_RANDOMIZE
ASK_PERSONALITY = 0xFFFFFFFF


class Machine(NamedTuple):
    """One architecture: the kernel's number for it, and its table's numbers of the calls that need a look at their arguments."""

    audit: int
    clone: int
    ioctl: int
    personality: int
    socket: int
    setsockopt: int
    column: int
    x32: bool


MACHINES = {
    "x86_64": Machine(0xC000003E, 56, 16, 135, 41, 54, 0, True),
    "aarch64": Machine(0xC00000B7, 220, 29, 92, 198, 208, 1, False),
}
CLONE3 = 435
# name: (number on x86_64, number on aarch64); -1 where there is none
DENIED = {
    # mounts and roots
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "sysfs": (139, -1),
    "ustat": (136, -1),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # the kernel itself
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "create_module": (174, -1),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "get_kernel_syms": (177, -1),
    "query_module": (178, -1),
    "uselib": (134, -1),
    "_sysctl": (156, -1),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    "acct": (163, 89),
    "reboot": (169, 142),
    "vhangup": (153, 58),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    # clocks
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    # memory of the machine, and of others
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "get_mempolicy": (239, 236),
    "set_mempolicy_home_node": (450, 450),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
}


class Step(NamedTuple):
    """One instruction; jumps are counted from the next one."""

    code: int
    value: int
    true: int = 0
    false: int = 0


def program(machine: Machine, shared: bool) -> tuple[Step, ...]:
    """The filter of one architecture. It falls through from rule to rule; each rule ends in an answer of its own. `shared`: for a command
    that shares the host's network."""
    families = FAMILIES_SHARED if shared else FAMILIES
    deny, absent = Step(RETURN, ERRNO | EPERM), Step(RETURN, ERRNO | ENOSYS)
    steps = [Step(LOAD, ARCH), Step(EQUAL, machine.audit, 1, 0), Step(RETURN, KILL), Step(LOAD, NUMBER)]
    if machine.x32:
        steps += [Step(AT_LEAST, X32_BIT, 0, 1), absent]
    steps += [Step(ABOVE, LAST, 0, 1), absent, Step(EQUAL, CLONE3, 0, 1), absent]
    for first, last in ranges(sorted(row[machine.column] for row in DENIED.values() if row[machine.column] >= 0)):
        steps += [Step(AT_LEAST, first, 0, 2), Step(ABOVE, last, 1, 0), deny]
    looks = (
        (machine.clone, 0, [Step(ANY_OF, NEW_NAMESPACES, 0, 1), deny]),
        (machine.ioctl, 1, [Step(EQUAL, TIOCSTI, 1, 0), Step(EQUAL, TIOCLINUX, 0, 1), deny]),
        (
            machine.personality,
            0,
            [Step(EQUAL, ASK_PERSONALITY, 3, 0), Step(AND, ~PERSONALITIES & 0xFFFFFFFF), Step(EQUAL, 0, 1, 0), deny],
        ),
        (
            machine.socket,
            0,
            [Step(EQUAL, family, len(families) - index, 0) for index, family in enumerate(families)]
            + [Step(RETURN, ERRNO | EAFNOSUPPORT)],
        ),
        (machine.setsockopt, 1, _binding() if shared else []),
    )
    for number, argument, checks in looks:
        # An argument's lower half is all of it that the kernel looks at: each of these is an int there.
        body = [_load(argument), *checks, Step(RETURN, ALLOW)]
        steps += [Step(EQUAL, number, 0, len(body)), *body]
    return (*steps, Step(RETURN, ALLOW))


def _load(argument: int) -> Step:
    return Step(LOAD, FIRST_ARGUMENT + 8 * argument)


def _binding() -> list[Step]:
    """Options by level; the level is what was loaded last."""
    steps: list[Step] = []
    for level, (one, other) in BINDING:
        options = [_load(2), Step(EQUAL, one, 1, 0), Step(EQUAL, other, 0, 1), Step(RETURN, ERRNO | EPERM), _load(1)]
        steps += [Step(EQUAL, level, 0, len(options)), *options]
    return steps


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as (first, last) of each run without a gap."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


@functools.lru_cache(maxsize=None)
def assembled(machine: str, shared: bool) -> bytes:
    """The program's bytes; none for a machine whose calls are not listed here."""
    known = MACHINES.get(machine)
    if known is None:
        return b""
    return b"".join(
        struct.pack("=HBBI", step.code, step.true, step.false, step.value) for step in program(known, shared)
    )


def here(shared: bool) -> bytes:
    """For this machine."""
    return assembled(platform.machine(), shared)
