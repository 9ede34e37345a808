"""What holds a job on a host of the embedded cloud: no way to be its host, and each limit that its spec says."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
NAME = "AWS_EC2_METADATA_SERVICE_ENDPOINT="
TRIES = """
import os, socket
for address in [("169.254.169.254", 80), *(("127.0.0.1", int(port)) for port in os.environ["PORTS"].split())]:
    try:
        with socket.create_connection(address, 5) as s:
            s.sendall(b"PUT /latest/api/token HTTP/1.1\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n")
            print("answered" if s.recv(1) else "closed")
    except OSError as error:
        print("closed" if isinstance(error, ConnectionResetError) else error.strerror)
"""


def _endpoints(deployed: Deployed) -> Iterator[str]:
    """Of all hosts of this cloud that live: what their agents were told."""
    cloud = "AWS_ENDPOINT_URL=" + deployed.cloud.aws("s3").meta.endpoint_url
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_text().split("\0")
        except OSError:
            continue
        if cloud in words:
            yield from (word.removeprefix(NAME) for word in words if word.startswith(NAME))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can keep a job with network from the metadata service")
def test_a_job_with_network_cannot_be_its_host_and_every_limit_has_its_end(deployed: Deployed) -> None:
    """It runs, so the fence was proven; and it meets that fence itself where everybody else is answered."""
    client = deployed.client
    first = client.submit("true", timeout_s=30, network=True)
    assert client.wait([first.id], timeout_s=60)[0].succeeded
    endpoints = sorted(set(_endpoints(deployed)))
    assert endpoints
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{endpoints[0]}/latest/meta-data/", timeout=5)
    ports = " ".join(one.rpartition(":")[2] for one in endpoints)
    tries = [{"path": "tries.py", "text": TRIES}]
    fenced = client.submit("python3 tries.py", timeout_s=30, network=True, environment={"PORTS": ports}, inputs=tries)
    loud = client.submit("yes", timeout_s=30, output_mib=1)
    busy = client.submit("while :; do :; done", timeout_s=30, cpu_s=1)
    done, printed, spent = client.wait([fenced.id, loud.id, busy.id], timeout_s=90)
    met = client.log(done.id).text.splitlines()
    assert met[0] == "Permission denied"
    assert "closed" in met
    assert "answered" not in met
    assert (printed.state, printed.reason) == ("failed", "killed: printed more than 1 MiB")
    assert spent.state == "timed_out"
    assert spent.reason.endswith("s of 1 s of processor time")
