"""An install on the deployed system: from the job that names it to what it has printed."""

from __future__ import annotations

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_an_install_is_run_for_the_first_job_of_a_host_and_its_output_is_kept(deployed: Deployed) -> None:
    """Its host tells of it, its job's story too, and operators read what it printed."""
    spillway = deployed.client
    install = {"script": "set -e\necho installing in $SPILLWAY_INSTALL_DIR\nsleep 1\necho 42 > answer\n"}
    job = spillway.submit("cat $SPILLWAY_INSTALL_DIR/answer", timeout_s=60, memory_mib=64, install=install)
    (done,) = spillway.wait([job.id], timeout_s=90)
    assert done.state == "succeeded", done
    assert "".join(part.text for part in spillway.log_parts(job.id)) == "42\n"
    assert done.host is not None
    (installed,) = [
        one for one in spillway.host(done.host).installs if one["name"] == "install.sh" and one["state"] == "ready"
    ]
    printed = "".join(part.text for part in spillway.install_log_parts(job.id, version=installed["version"]))
    assert printed.startswith("installing in ")
    told = [line.reason for line in spillway.story(job.id) if line.event == "install"]
    assert told[-1].endswith(") is ready")
