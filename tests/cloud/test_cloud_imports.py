"""A cold start pays for every import."""

from __future__ import annotations

import subprocess
import sys


def test_wiring_the_cloud_imports_nothing_of_aws():
    """Functions that never call AWS, and `chalice deploy`, should not load its SDK for the cloud's sake."""
    program = (
        "import sys, chalicelib.cloud.aws as aws, chalicelib.cloud.user_data, chalicelib.cloud.memory\n"
        "from chalicelib.config import Settings\n"
        "aws.aws_cloud(Settings())\n"
        "print([m for m in ('boto3', 'botocore', 'urllib3', 'moto') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
