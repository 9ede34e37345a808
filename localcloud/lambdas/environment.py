"""The environment variables of a worker: what Lambda sets, what the function is configured with, nothing else."""

import time
from pathlib import Path

from localcloud.identity import Credentials
from localcloud.lambdas.config import FunctionConfig


def environment(
    config: FunctionConfig,
    credentials: Credentials,
    task_root: Path,
    runtime_root: Path,
    home: Path,
    endpoint_url: str,
) -> dict[str, str]:
    """All of a worker's environment but the runtime API's address.

    `home` is the folder that it may write into: HOME and TMPDIR, as there is no /tmp of its own. AWS_ENDPOINT_URL is the one
    variable that Lambda would not have.
    """
    stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{time.time_ns():032x}"
    return dict(config.environment) | {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LAMBDA_TASK_ROOT": str(task_root),
        "LAMBDA_RUNTIME_DIR": str(runtime_root),
        "_HANDLER": config.handler,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.runtime}",
        "AWS_REGION": config.region,
        "AWS_DEFAULT_REGION": config.region,
        "AWS_LAMBDA_FUNCTION_NAME": config.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.memory_mib),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{config.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token,
        "AWS_ENDPOINT_URL": endpoint_url,
    }
