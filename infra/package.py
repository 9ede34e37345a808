"""The packaging step: build the Lambda package where `chalice deploy` looks for it, so that it is reused and not built unstripped.

Chalice names the package after a hash of requirements.txt, app.py and chalicelib, and uses the file of that name if it is there. We
let Chalice's own dependency builder fetch the wheels that fit Lambda, strip them (infra/strip.py), keep the result as a zip of its
own in `build/lambda` (its key is everything that shaped it, so all projects staged from this checkout share it), and append the
app to a copy of that: a change of the app costs well under two seconds.

Same input, same bytes: sorted names, one date, fixed modes. `__pycache__` below chalicelib would enter Chalice's hash (and package), so
it is removed first; `infra.deploy` runs Chalice with PYTHONDONTWRITEBYTECODE, and app.py sets `sys.dont_write_bytecode`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import chalice
from chalice.config import Config
from chalice.deploy import packager as chalice_packager
from chalice.utils import UI, OSUtils

from infra import strip, terminal
from infra.errors import InfraError

LIMIT_BYTES = 8_000_000
CACHE = Path(__file__).parents[1] / "build" / "lambda"
_PACKAGE_NAME = re.compile(r"[0-9a-f]{32}-python3\.\d+\.zip")
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A built Lambda package. `reused`: it was there already; `dependencies_reused`: only the app was added anew."""

    path: str
    bytes: int
    sha256: str
    seconds: float
    reused: bool
    dependencies_reused: bool


def build(project_dir: Path, report: terminal.Report = terminal.silent) -> Package:
    """Build the package of the project's present code. Raises InfraError if a dependency cannot be had, or it is over 8 MB."""
    started = time.monotonic()
    project_dir = project_dir.resolve()
    if not (project_dir / "app.py").is_file():
        raise InfraError(
            f"{project_dir} has no app.py. Run this in Spillway's checkout, or say where it is with --project-dir."
        )
    remove_bytecode(project_dir)
    python = Config().lambda_python_version
    target = _target(project_dir, python)
    if target.is_file():
        return _built(target, started, reused=True, dependencies_reused=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    dependencies, cached = _dependencies(project_dir / "requirements.txt", python, report)
    report("package: adding the app")
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "package.zip"
        shutil.copyfile(dependencies, draft)
        with zipfile.ZipFile(draft, "a", zipfile.ZIP_DEFLATED) as package:
            for name, file in _app_files(project_dir, Path(folder) / "app"):
                _add(package, name, file)
        if draft.stat().st_size > LIMIT_BYTES:
            raise InfraError(
                f"The package has {draft.stat().st_size:,} bytes, over {LIMIT_BYTES:,}. infra/strip.py says what it keeps."
            )
        _forget_others(target.parent, _PACKAGE_NAME)
        shutil.move(draft, target)
    return _built(target, started, reused=False, dependencies_reused=cached)


def remove_bytecode(project_dir: Path) -> None:
    """Remove what Python cached beside chalicelib's sources."""
    for folder in list((project_dir / "chalicelib").rglob("__pycache__")):
        shutil.rmtree(folder, ignore_errors=True)


def _target(project_dir: Path, python: str) -> Path:
    osutils = OSUtils()
    builder = chalice_packager.DependencyBuilder(osutils)
    named = chalice_packager.LambdaDeploymentPackager(osutils, builder, ui=UI())
    return Path(named.deployment_package_filename(str(project_dir), python))


def _built(path: Path, started: float, *, reused: bool, dependencies_reused: bool) -> Package:
    return Package(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        seconds=round(time.monotonic() - started, 3),
        reused=reused,
        dependencies_reused=dependencies_reused,
    )


def _dependencies(requirements: Path, python: str, report: terminal.Report) -> tuple[Path, bool]:
    """The zip of stripped dependencies, and whether it was there."""
    key = hashlib.sha256()
    for part in (requirements.read_bytes(), Path(strip.__file__).read_bytes(), python.encode(), sys.version.encode()):
        key.update(hashlib.sha256(part).digest())
    cached = CACHE / f"dependencies-{key.hexdigest()[:32]}.zip"
    if cached.is_file():
        return cached, True
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        site = Path(temporary) / "site"
        report("package: fetching the dependencies for Lambda")
        _fetch(requirements, python, site)
        before = _size(site)
        report("package: stripping what functions do not use")
        strip.strip(site)
        draft = Path(temporary) / "dependencies.zip"
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as package:
            for file in sorted(f for f in site.rglob("*") if f.is_file()):
                _add(package, file.relative_to(site).as_posix(), file)
        report(
            f"package: dependencies {before / 1e6:.1f} MB → {_size(site) / 1e6:.1f} MB, {draft.stat().st_size / 1e6:.1f} MB zipped"
        )
        _forget_others(CACHE, re.compile(r"dependencies-[0-9a-f]{32}\.zip"))
        draft.replace(cached)  # in one step: another process may be building the same
    return cached, False


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _fetch(requirements: Path, python: str, site: Path) -> None:
    abi = "cp" + python.removeprefix("python").replace(".", "")
    builder = chalice_packager.DependencyBuilder(OSUtils())
    try:
        builder.build_site_packages(abi, str(requirements), str(site))
    except chalice_packager.MissingDependencyError as error:
        names = ", ".join(sorted(p.identifier for p in error.missing))
        raise InfraError(
            f"There is no wheel that runs on Lambda ({python}, x86_64) for {names}; change {requirements}."
        ) from None
    except (chalice_packager.NoSuchPackageError, chalice_packager.PackageDownloadError) as error:
        raise InfraError(
            f"pip could not fetch what {requirements} names: {error}. Check the network and pip's configuration."
        ) from None
    shutil.rmtree(site / "chalice", ignore_errors=True)  # its runtime half comes with the app, as Chalice does it


def _app_files(project_dir: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the package → file, sources and bytecode, sorted by name. The same files as Chalice adds."""
    runtime = Path(chalice.__file__).parent
    for name in ("__init__.py", "app.py"):
        _copy(runtime / name, folder / "chalice" / name)
    _copy(project_dir / "app.py", folder / "app.py")
    for root in ("chalicelib", "vendor"):
        for file in (project_dir / root).rglob("*"):
            if file.is_file():
                relative = file.relative_to(project_dir if root == "chalicelib" else project_dir / root)
                _copy(file, folder / relative)
    strip.compile_tree(folder)
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        yield file.relative_to(folder).as_posix(), file


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _add(package: zipfile.ZipFile, name: str, file: Path) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = (0o100755 if file.suffix == ".so" else 0o100644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    package.writestr(entry, file.read_bytes())


def _forget_others(folder: Path, pattern: re.Pattern[str]) -> None:
    """Superseded files are only caches; they would pile up by some megabytes a change."""
    for file in folder.iterdir():
        if pattern.fullmatch(file.name):
            file.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m infra.package`: build, and say where it is and how big."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description="Build what `chalice deploy` uploads.")
    parser.add_argument("--project-dir", type=Path, default=Path.cwd(), help="where app.py is (default: here)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    try:
        package = build(options.project_dir, terminal.progress)
    except InfraError as error:
        terminal.say(str(error), stream=sys.stderr)
        return 1
    if options.json:
        terminal.say(json.dumps(asdict(package)))
    else:
        how = "unchanged" if package.reused else f"built in {package.seconds:.1f} s"
        terminal.say(f"{package.path}: {package.bytes / 1e6:.2f} MB, {how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
