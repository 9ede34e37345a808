"""What runs on a host: takes assignments, claims and runs them in a sandbox, reports by pings, and ends the machine.

Standard library only, Python 3.9 (Amazon Linux 2023). Built into one file by `agent.build`; started by `agent/boot.py`.
"""
