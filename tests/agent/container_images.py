"""Images of containers for tests, made of this machine's own programs: no registry is asked."""

import json
import os
import re
import shutil
import subprocess
import sysconfig
import uuid
from pathlib import Path

from agent.images import pinned

NOWHERE = "127.0.0.1:9"  # a registry that answers at once that it is not there
TOOLS = """sh bash cat env id ls sleep setsid dd stat wc rm head yes mkfifo grep cp chmod ln mkdir touch chown chroot mknod mount unshare
    nsenter su seq""".split()  # noqa: SIM905


def a_small_image(engine, place, python=False):
    """(its name, what it is pinned to); with `python`, the system's own python3 is in it, too."""
    root = place / "rootfs"
    programs = [
        os.path.realpath(found) for tool in TOOLS if (found := shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin"))
    ]
    names = [tool for tool in TOOLS if shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin")]
    if python:
        programs.append(os.path.realpath("/usr/bin/python3"))
        names.append("python3")
        ask = [programs[-1], "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
        library = subprocess.run(ask, capture_output=True, text=True).stdout.strip() or sysconfig.get_path("stdlib")
        left_out = shutil.ignore_patterns(
            "test", "__pycache__", "idlelib", "site-packages", "dist-packages", "config-*"
        )
        shutil.copytree(library, root / library.lstrip("/"), symlinks=True, ignore=left_out)
        programs += map(str, Path(library, "lib-dynload").glob("*.so"))
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
    for path in {*programs, *re.findall(r"(/\S+) \(0x", listed)}:
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (root / "bin").mkdir(exist_ok=True)
    for tool, path in zip(names, programs, strict=False):
        if not (root / "bin" / tool).exists():
            (root / "bin" / tool).symlink_to(path)
    subprocess.run(["tar", "-C", root, "-cf", place / "image.tar", "."], check=True)
    name = f"{NOWHERE}/spillway-test:{uuid.uuid4().hex[:8]}"
    said = engine.ask("import", str(place / "image.tar"), name)
    assert not said.code, said
    return name, pinned(name, json.loads(engine.ask("image", "inspect", "--format", "{{json .}}", name).out))
