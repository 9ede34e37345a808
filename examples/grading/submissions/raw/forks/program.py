"""Forks as long as it is let; then says how it ended. Nobody stands between it and Spillway's own limit."""

import os
import sys
import time

started = 0
while True:
    try:
        child = os.fork()
    except OSError as error:
        print(f"no more than {started} processes: {error}", flush=True)
        sys.exit(1)
    if child == 0:
        time.sleep(600)
        os._exit(0)
    started += 1
    if started >= 20000:
        print("20,000 processes and nobody stopped it", flush=True)
        sys.exit(0)
