#!/usr/bin/env bash
# Run once on each host, before the first submission: what graders install with apt or pip.
set -e
python3 --version
