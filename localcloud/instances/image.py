"""What all machines of a fleet share, read-only: the host's /etc without its secrets, and the commands of a machine.

Made once when the fleet starts. A copy, not the host's own folder, because a machine must have places in /etc of its own
(systemd units, its hostname) whatever the host has, and because a host's /etc holds keys and password hashes.
"""

import shutil
from pathlib import Path

COMMANDS = Path(__file__).parent / "bin"
COMMAND_NAMES = ("systemctl", "shutdown", "poweroff", "halt", "reboot")
# Secrets, other machines' business, and what is only large.
LEFT_OUT = frozenset(
    (
        *(
            "shadow",
            "shadow-",
            "gshadow",
            "gshadow-",
            "sudoers",
            "sudoers.d",
            "ssh",
            "private",
            "krb5.keytab",
            "wireguard",
        ),
        *(
            "hostname",
            "systemd",
            "sssd",
            "NetworkManager",
            "libvirt",
            "polkit-1",
            "cups",
            "docker",
            "kubernetes",
            "containerd",
        ),
    )
)
FILE_MAX_BYTES = 4 << 20


def build(folder: Path) -> Path:
    """Make the image in `folder` (replaced when it is there) and return it: `etc/` and `bin/`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "etc/systemd/system").mkdir(parents=True)
    _copy(Path("/etc"), folder / "etc")
    (folder / "etc/hostname").touch()
    (folder / "bin").mkdir()
    for name in COMMAND_NAMES:
        shutil.copyfile(COMMANDS / "systemctl", folder / "bin" / name)
        (folder / "bin" / name).chmod(0o755)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Copy what may be read; links stay links, devices and sockets are left out."""
    target.mkdir(exist_ok=True)
    try:
        entries = list(source.iterdir())
    except OSError:
        return  # not ours to read, so not a machine's either
    for entry in entries:
        if entry.name in LEFT_OUT:
            continue
        copy = target / entry.name
        try:
            if entry.is_symlink():
                copy.symlink_to(entry.readlink())
            elif entry.is_dir():
                _copy(entry, copy)
            elif entry.is_file() and entry.stat().st_size <= FILE_MAX_BYTES:
                shutil.copyfile(entry, copy)
                copy.chmod(entry.stat().st_mode & 0o755)
        except OSError:
            continue
