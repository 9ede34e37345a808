"""What a machine is given to boot: its folder, its user data, its environment, the order to the hypervisor."""

import base64
import binascii
import contextlib
import gzip
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

from localcloud.instances.machine import Machine
from localcloud.instances.machine_init import USER_DATA

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_disk(machine: Machine, why_no_namespaces: str) -> None:
    """Its folder, console and user data, as they are before it boots. `why_no_namespaces` is "" where there are some."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    with machine.console.open("a") as console:
        if machine.booted:
            console.write("spillway: booting again\n")
        elif machine.user_data.startswith(b"#!"):
            script = Path(f"{machine.disk}{USER_DATA}")
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_bytes(machine.user_data)
            script.chmod(0o700)
        elif machine.user_data:
            console.write("spillway: the user data does not begin with #!, so it is not run\n")
        if why_no_namespaces:
            console.write(f"spillway: no namespaces here ({why_no_namespaces}); SPILLWAY_ROOT={machine.disk}\n")


def order(machine: Machine, image: Path, isolated: bool, endpoint: str, grace_s: float) -> dict[str, Any]:
    """What the hypervisor is told; `endpoint` is where AWS answers, `isolated` whether machines have namespaces."""
    return {
        "id": machine.id,
        "disk": str(machine.disk),
        "console": str(machine.console),
        "image": str(image),
        "hostname": str(machine.instance.private_dns_name).partition(".")[0],
        "python": "" if shutil.which("python3", path=SYSTEM_PATH) else sys.base_prefix,
        "environment": _environment(machine, image, isolated, endpoint),
        "grace_s": grace_s,
        "first_boot": not machine.booted,
    }


def _environment(machine: Machine, image: Path, isolated: bool, endpoint: str) -> dict[str, str]:
    """Everything that a process in a machine finds in its environment at boot."""
    environment = {
        "PATH": f"{'/machine/bin' if isolated else image / 'bin'}:{SYSTEM_PATH}",
        "HOME": "/root" if isolated else str(machine.disk / "root"),
        "LANG": "C.UTF-8",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{machine.metadata_port}",
    }
    if not isolated:
        environment["SPILLWAY_ROOT"] = str(machine.disk)
    if not shutil.which("python3", path=SYSTEM_PATH):
        environment["PATH"] += f":{sys.base_prefix}/bin"
    return environment


def user_data(instance: Any) -> bytes:
    """What cloud-init would see: decoded, and unpacked when it is gzip."""
    encoded = str(instance.user_data) if instance.user_data else ""
    with contextlib.suppress(binascii.Error, ValueError, OSError, EOFError, zlib.error):
        raw = base64.b64decode(encoded)
        return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    return b""
