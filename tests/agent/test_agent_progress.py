"""What a command says of itself: how far it is, on a socket that hears nothing else; and the alarm when it says nothing new."""

import pytest
from agent_machine import a_job

pytestmark = pytest.mark.usefixtures("sandboxed")


def test_a_command_says_how_far_it_is_and_the_pings_say_it(machine):
    """By the program on its PATH, in percent and words; soon, and no command waits for anybody because of it."""
    command = "spillway-agent progress 42 'reading,  twice'; while [ ! -e /job/go ]; do sleep 0.05; done"
    one = machine(assignments=[a_job(command=command)], settings={"ping_every_s": 30}).start()
    told = one.wait("progress")
    assert (told["percent"], told["note"]) == (42.0, "reading, twice")
    assert told["stalled"] is False
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    assert one.wait("finish")["outcome"] == "succeeded"
