"""The Lambda package: small, complete, the same twice, and where Chalice looks for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from chalice.cli.factory import CLIFactory
from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
from chalice.utils import UI, OSUtils

from infra import package
from infra.errors import InfraError
from infra.project import stage_project
from infra.strip import SERVICES

ROOT = Path(__file__).parents[2]

PROVE = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + [sys.argv[1]]
import aws_lambda_powertools, boto3, botocore.session, chalice, croniter, fastjsonschema, msgspec, pynamodb.models, tzdata
from aws_lambda_powertools import Logger, Metrics
Logger(service="x").info("hello")
session = boto3.Session(region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
for service in {services!r}:
    client = session.client(service)
    assert client.meta.service_model.operation_names
s3 = session.client("s3")
assert "Signature=" in s3.generate_presigned_url("get_object", Params={{"Bucket": "b", "Key": "k"}})
ec2 = session.client("ec2")
assert ec2.can_paginate("describe_instances")
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None) or ""
    assert "site-packages" not in file, file
    if file.startswith(sys.argv[1]) and file.endswith(".py"):
        assert (module.__cached__ or "").endswith(".pyc"), file
print("whole")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged copy of this checkout."""
    folder = tmp_path_factory.mktemp("project")
    stage_project(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def built(project: Path) -> package.Package:
    return package.build(project)


@pytest.fixture(scope="module")
def unpacked(built: package.Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(folder)
    return folder


def test_the_package_is_under_8_mb(built: package.Package) -> None:
    """Unstripped it has 18.7 MB; each of it is fetched at each cold start."""
    assert built.bytes < 8_000_000


def test_the_package_works_alone(unpacked: Path) -> None:
    """An interpreter that sees nothing else makes every client that functions use, and runs from bytecode."""
    program = PROVE.format(services=sorted(SERVICES))
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-B", "-c", program, str(unpacked)], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("whole\n")


def test_the_app_itself_imports_from_the_package(unpacked: Path) -> None:
    """app.py with all that it registers, as Lambda would import it."""
    environment = {
        "SPILLWAY_STAGE": "dev",
        "SPILLWAY_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", "import app; print(app.app.app_name)"],
        capture_output=True,
        text=True,
        cwd=unpacked,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "spillway"


def test_chalice_finds_and_reuses_it(project: Path, built: package.Package) -> None:
    """The name is Chalice's own, computed as `chalice deploy` does."""
    config = CLIFactory(str(project)).create_config_obj("dev")
    osutils = OSUtils()
    packager = LambdaDeploymentPackager(osutils, DependencyBuilder(osutils), UI())
    assert packager.deployment_package_filename(str(project), config.lambda_python_version) == built.path


def test_building_twice_gives_the_same_bytes(project: Path, built: package.Package) -> None:
    """From the dependencies on: so a deployment that changes nothing uploads the same hash."""
    before = Path(built.path).read_bytes()
    Path(built.path).unlink()
    again = package.build(project)
    assert (again.path, again.sha256) == (built.path, built.sha256)
    assert Path(again.path).read_bytes() == before


def test_bytecode_beside_the_sources_changes_nothing(project: Path, built: package.Package) -> None:
    """Whoever imports chalicelib leaves __pycache__; Chalice would hash and ship it."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(project / "chalicelib")], check=True)
    again = package.build(project)
    assert again.reused
    assert again.path == built.path
    assert not list(project.rglob("__pycache__"))


def test_a_change_of_the_app_fetches_no_dependencies(project: Path, built: package.Package, tmp_path: Path) -> None:
    """The stripped dependencies are kept; the old package goes. (It takes 0.2 s on an idle machine; the bound is for a busy one.)"""
    shutil.copytree(project, tmp_path / "copy")
    with (tmp_path / "copy" / "app.py").open("a") as app:
        app.write("# changed\n")
    again = package.build(tmp_path / "copy")
    assert again.dependencies_reused
    assert not again.reused
    assert again.seconds < 10
    assert len(list((tmp_path / "copy" / ".chalice" / "deployments").glob("*-python3.*.zip"))) == 1


def test_nothing_useless_is_in_the_package(built: package.Package) -> None:
    """No tests, no metadata, no other services, and only our bytecode."""
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    assert not [n for n in names if re.search(r"(^|/)tests/|\.dist-info/|\.pyi$|/examples", n)]
    assert {n.split("/")[2] for n in names if re.match(r"botocore/data/[^/]+/", n)} == set(SERVICES)
    assert len(names) == len(set(names))
    assert "app.py" in names
    assert "chalice/app.py" in names
    assert not [n for n in names if n.startswith(("infra/", "policies/", "tests/", ".chalice/"))]


def test_every_operation_that_is_called_is_kept() -> None:
    """A call of an operation that strip.py dropped would fail in Lambda only."""
    loader = Loader()
    sources = "\n".join(f.read_text() for f in [*(ROOT / "chalicelib").rglob("*.py")])
    called = set(re.findall(r"\.(\w+)\(", sources)) | set(re.findall(r'paginator\(\s*"(\w+)"', sources))
    for service in ("ec2", "secretsmanager", "ssm"):
        model = loader.load_service_model(service, "service-2")
        kept = SERVICES[service]
        assert kept is not None
        dropped = {xform_name(name) for name in model["operations"]} - {xform_name(name) for name in kept}
        assert not called & dropped


def test_a_folder_without_an_app_is_told_as_such(tmp_path: Path) -> None:
    """The sentence says what to do."""
    with pytest.raises(InfraError, match="--project-dir"):
        package.build(tmp_path)


def test_an_app_that_does_not_compile_is_told_as_such(project: Path, built: package.Package, tmp_path: Path) -> None:
    """With the line."""
    shutil.copytree(project, tmp_path / "copy")
    (tmp_path / "copy" / "chalicelib" / "broken.py").write_text("def (:\n")
    with pytest.raises(InfraError, match=r"broken\.py"):
        package.build(tmp_path / "copy")


def test_a_checkout_has_all_that_lambda_has() -> None:
    """In the same versions: else tests and the embedded cloud would run other code than what is deployed."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shipped = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert {pin for pin in shipped if pin} <= set(extras["cloud"])
