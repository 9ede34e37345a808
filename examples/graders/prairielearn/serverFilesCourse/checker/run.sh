#!/bin/sh
# The entrypoint of an external grader: all that it knows is in /grade, and results/results.json is what it answers.
mkdir -p /grade/results
exec python3 /grade/serverFilesCourse/checker/check.py
