"""For all tests: no real AWS account can be met. Logs stay on: a log line that raises is a bug that tests must meet.
A property has no deadline a case: a machine that does something else meanwhile is no failure."""

import os

from hypothesis import settings

settings.register_profile("spillway", deadline=None)
settings.load_profile("spillway")

os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",  # no secret: it keeps a developer's own keys out of the tests
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)
os.environ.pop("AWS_PROFILE", None)
