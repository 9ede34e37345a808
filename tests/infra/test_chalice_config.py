"""config.json against the app itself: every handler has its memory, timeout and policy, and Chalice finds them where we write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chalice.cli.factory import CLIFactory

from infra import chalice_config, client_file, policies
from infra.errors import InfraError
from infra.stage import FUNCTIONS

ROOT = Path(__file__).parents[2]

LIST_HANDLERS = """
import json
from app import app
queues = [e for e in app.event_sources if hasattr(e, "batch_size")]
sqs = {e.name: [e.batch_size, e.maximum_batching_window_in_seconds, e.maximum_concurrency] for e in queues}
names = [e.name for e in app.event_sources] + [a.name for a in app.builtin_auth_handlers] + ["api_handler"]
print(json.dumps({"names": names, "sqs": sqs, "pure": [f.name for f in app.pure_lambda_functions]}))
"""


@pytest.fixture(scope="module")
def handlers() -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SPILLWAY_STAGE": "dev", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIST_HANDLERS], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_handler_of_the_app_is_configured_and_nothing_else(handlers: dict[str, Any]) -> None:
    """A new handler without a policy would fail at deployment; a removed one would leave its policy behind."""
    assert sorted([*handlers["names"], *handlers["pure"]]) == sorted(FUNCTIONS)
    assert set(chalice_config.read(ROOT)["lambda_functions"]) == set(FUNCTIONS)


def test_batches_are_such_as_lambda_takes(handlers: dict[str, Any]) -> None:
    """More than 10 messages need a window of a second or more; FIFO batches are single, without a window; concurrency is at least 2."""
    for name, (batch, window_s, concurrency) in handlers["sqs"].items():
        assert batch <= 10 or (window_s or 0) >= 1, f"Lambda refuses {name}: batch_size {batch} needs a window"
        assert concurrency is None or 2 <= concurrency <= 1000
    assert handlers["sqs"]["wakes"][0] == 1
    assert not handlers["sqs"]["wakes"][1]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_chalice_finds_each_functions_settings_before_and_after_bootstrap(project: Path, function: str) -> None:
    """The committed policy without a stage; the stage's own after bootstrap. Both are files that exist."""

    def seen(stage: str) -> Any:
        return CLIFactory(str(project)).create_config_obj(stage).scope(stage, function)

    committed = seen("dev")
    assert committed.autogen_policy is False
    assert (project / ".chalice" / committed.iam_policy_file).resolve() == project / "policies" / f"{function}.json"
    assert committed.lambda_timeout <= 60
    assert committed.lambda_memory_size >= 512
    assert not committed.xray_enabled
    assert committed.api_gateway_stage == "api"

    facts = policies.Facts(stage="dev", region="us-east-1", account="1", partition="aws", bucket="b")
    files = policies.write_stage(project, FUNCTIONS, facts)
    chalice_config.write_stage(project, "dev", {"SPILLWAY_STAGE": "dev"}, files)
    staged = seen("dev")
    assert (project / ".chalice" / staged.iam_policy_file) == project / ".chalice/policies/dev" / f"{function}.json"
    assert (project / ".chalice" / staged.iam_policy_file).is_file()
    assert staged.environment_variables == {"SPILLWAY_STAGE": "dev", "SPILLWAY_LOG_LEVEL": "INFO"}
    assert staged.lambda_timeout == committed.lambda_timeout
    assert seen("other").iam_policy_file == committed.iam_policy_file


def test_writing_a_stage_keeps_what_people_wrote(project: Path) -> None:
    """A log level, a variable of their own, a function's memory, another stage."""
    mine = {
        "environment_variables": {"SPILLWAY_LOG_LEVEL": "DEBUG", "MINE": "1"},
        "lambda_functions": {"tick": {"lambda_memory_size": 1024}},
    }
    document = chalice_config.read(project)
    chalice_config.write(project, {**document, "stages": {"dev": mine, "prod": {"x": 1}}})
    chalice_config.write_stage(project, "dev", {"SPILLWAY_STAGE": "dev"}, {"tick": "policies/dev/tick.json"})
    stages = chalice_config.read(project)["stages"]
    assert stages["prod"] == {"x": 1}
    assert stages["dev"]["environment_variables"] == {
        "SPILLWAY_LOG_LEVEL": "DEBUG",
        "MINE": "1",
        "SPILLWAY_STAGE": "dev",
    }
    assert stages["dev"]["lambda_functions"]["tick"] == {
        "lambda_memory_size": 1024,
        "iam_policy_file": "policies/dev/tick.json",
    }


def test_the_deployed_url_is_read_from_chalices_record(project: Path) -> None:
    """It ends up in the client's file without a final slash; without a deployment the sentence says what to run."""
    client_file.write(project, "dev", "us-east-1", token="spw_x")
    with pytest.raises(InfraError, match=r"infra\.deploy --stage dev"):
        client_file.record_api_url(project, "dev")
    deployed = project / ".chalice" / "deployed" / "dev.json"
    deployed.parent.mkdir()
    deployed.write_text(json.dumps({"resources": [{"resource_type": "rest_api", "rest_api_url": "https://x/api/"}]}))
    assert client_file.record_api_url(project, "dev") == "https://x/api"
    assert client_file.read(project, "dev") == {
        "api_url": "https://x/api",
        "token": "spw_x",
        "region": "us-east-1",
        "stage": "dev",
    }
