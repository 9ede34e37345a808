"""`agent.pyz run` is the agent; `agent.pyz ring` is the doorbell, which must cost no more than the interpreter's own start."""

import os
import socket
import sys


def ring(root: str) -> int:
    """Tell the running agent to look into its inbox. Returns the exit code, 0 when the agent has heard."""
    folder = root + "/run/spillway"
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bell.settimeout(5)
    try:
        # Through a descriptor: a Unix socket's path has to be shorter than 108 bytes, a root folder need not be.
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        bell.connect("/proc/self/fd/%d/agent.sock" % held)
        bell.sendall(b"ring\n")
        if bell.recv(16).strip() == b"ok":
            return 0
        sys.stderr.write("spillway-agent: the agent did not answer the doorbell properly; it may be stopping\n")
    except OSError as error:
        sys.stderr.write("spillway-agent: no agent listens in %s (%s); is it running on this host?\n" % (folder, error))
    return 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["ring"]:
        status = ring(os.environ.get("SPILLWAY_ROOT", ""))
        sys.stderr.flush()
        os._exit(status)  # without the interpreter's tidy end, which takes longer than ringing
    from agent.command import main

    sys.exit(main(sys.argv[1:]))
