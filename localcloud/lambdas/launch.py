"""The first code of a worker process: makes it alone, then hands over to AWS's runtime client.

Run as `python -I -S launch.py TASK_ROOT RUNTIME_ROOT HANDLER`, so that `sys.path` holds the standard library only.
Standard input is the lifeline: nobody ever writes to it, and it ends when the embedded cloud is gone, however it went. Then this
process and everything it started go too.
"""

import os
import select
import signal
import sys
import threading

LAST_LOOK_S = 0.3


def _follow(lifeline: int) -> None:
    select.select([lifeline], [], [])  # only its end makes it readable
    os.killpg(0, signal.SIGKILL)  # the worker leads a process group of its own


def main() -> None:
    task_root, runtime_root, handler = sys.argv[1:4]
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_follow, args=(lifeline,), daemon=True, name="lifeline").start()

    standard_library = [path for path in sys.path if "site-packages" not in path and "dist-packages" not in path]
    sys.path[:] = [task_root, runtime_root, *standard_library]
    sys.argv[:] = [sys.argv[0], handler]
    os.chdir(task_root)

    from awslambdaric import __main__ as runtime

    try:
        runtime.main([runtime_root, handler])
    finally:
        # When the embedded cloud dies, the runtime API's connection may end a moment before the lifeline does, and the runtime
        # client gives up: leave nothing behind then either.
        if select.select([lifeline], [], [], LAST_LOOK_S)[0]:
            os.killpg(0, signal.SIGKILL)


main()
