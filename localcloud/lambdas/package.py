"""What a worker may import: the unpacked package of its function, and AWS's runtime client beside it.

A package is unpacked once for each code hash and compiled there, because Lambda too keeps bytecode between cold starts
of the same code and a laptop should not pay for compiling botocore each time. The runtime folder holds links to
`awslambdaric` and to the distributions that it needs, nothing else of the environment that this process runs in: a
package that forgot a dependency fails here as it would in Lambda.
"""

import base64
import importlib.metadata
import io
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

UNPACKED_MAX_BYTES = 262_144_000  # Lambda's limit for a package with its layers
RUNTIME_DISTRIBUTION = "awslambdaric"


class PackageError(Exception):
    """The uploaded package cannot be run; the message says why."""


class Packages:
    """Unpacked packages below `folder`, one folder for each code hash. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def task_root(self, code_sha256: str, code: bytes) -> Path:
        """The folder that holds the unpacked `code`, a zip whose SHA-256 is `code_sha256` in base64.

        Raises PackageError for something that is not a zip, names a path outside of its folder, or is too big.
        """
        name = base64.b64decode(code_sha256).hex()[:32] if code_sha256 else ""
        if not name or not code:
            raise PackageError("the function has no code: upload a zip file")
        root = self._folder / name
        if root.is_dir():
            return root
        with self._lock:
            if not root.is_dir():
                self._unpack(code, root)
        return root

    def runtime_root(self) -> Path:
        """The folder that holds links to the runtime client and its own dependencies, and nothing else."""
        root = self._folder / "runtime"
        with self._lock:
            if not root.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                building = Path(tempfile.mkdtemp(prefix="runtime-", dir=self._folder))
                for source in sorted(runtime_paths()):
                    (building / source.name).symlink_to(source)
                building.rename(root)
        return root

    def _unpack(self, code: bytes, root: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix="unpacking-", dir=self._folder))
        try:
            try:
                with zipfile.ZipFile(io.BytesIO(code)) as archive:
                    self._extract(archive, building)
            except zipfile.BadZipFile as error:
                raise PackageError(f"the function's code is not a zip file: {error}") from error
            # In a process of its own, so that compiling botocore does not hold this one's interpreter lock for seconds.
            # Unchecked, because nobody edits an unpacked package and zip files carry times that prove nothing.
            command = [sys.executable, "-I", "-S", "-m", "compileall", "-qq", "-j", "2"]
            subprocess.run([*command, "--invalidation-mode", "unchecked-hash", str(building)], check=False)
            building.chmod(0o755)
            building.rename(root)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _extract(self, archive: zipfile.ZipFile, target: Path) -> None:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > UNPACKED_MAX_BYTES:
            raise PackageError(f"the package is bigger than {UNPACKED_MAX_BYTES} bytes when unpacked, Lambda's limit")
        for info in infos:
            path = (target / info.filename).resolve()
            if not path.is_relative_to(target.resolve()):
                raise PackageError(f"the package names a path outside of its folder: {info.filename!r}")
            archive.extract(info, target)
            mode = info.external_attr >> 16
            if stat.S_ISREG(mode) and mode & 0o111:
                path.chmod(0o755)  # a program in the package stays a program


def runtime_paths() -> set[Path]:
    """Top-level modules and packages of `awslambdaric` and of every distribution that it needs."""
    found: set[Path] = set()
    wanted, seen = [RUNTIME_DISTRIBUTION], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                match = re.match(r"[A-Za-z0-9._-]+", requirement)
                if match:
                    wanted.append(match.group())
        for file in distribution.files or []:
            top = file.parts[0]
            if top in ("..", "__pycache__") or top.endswith((".dist-info", ".pth")):
                continue
            found.add(Path(str(distribution.locate_file(top))))
    return found
