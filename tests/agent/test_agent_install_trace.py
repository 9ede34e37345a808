"""Which line of an install's script is named, by what bash really traces; and that tracing changes nothing for the script."""

import os
import shutil
import subprocess

import pytest

from agent.install_trace import COMMAND_MAX, Start, blame, start, steps

BASH = shutil.which("bash")
SH_IS_BASH = os.path.realpath("/bin/sh").endswith("bash")


def run(folder, script, name="setup.sh", timeout_s=10, cwd=None):
    """Run it as an install is run: (exit code, what it printed, its trace)."""
    path, trace = folder / name, folder / "trace"
    path.write_text(script)
    path.chmod(0o700)
    trace.write_text("")
    how = start(str(path), script.split("\n")[0], BASH, SH_IS_BASH, str(trace))
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    if how.setup:
        (folder / "setup").write_text(how.setup)
        environment["BASH_ENV"] = str(folder / "setup")
    done = subprocess.run(
        how.argv, env=environment, capture_output=True, text=True, timeout=timeout_s, cwd=cwd or folder
    )
    return done.returncode, done.stdout + done.stderr, trace.read_text()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("#!/bin/bash\nset -e\n\nsh -c 'exit 100'\necho never", "setup.sh line 4: `sh -c 'exit 100'` exited with 100"),
        ("set -e\nsh -c 'exit 3'\n", "setup.sh line 2: `sh -c 'exit 3'` exited with 3"),
        ("#!/bin/sh\nfalse\ntrue\nsh -c 'exit 7'", "setup.sh line 4: `sh -c 'exit 7'` exited with 7"),
        (
            "#!/usr/bin/env bash\nset -eu\nf() {\n  ls /nowhere 2>/dev/null\n}\nf\n",
            "setup.sh line 4: `ls /nowhere` exited with 2",
        ),
        (
            "#!/bin/bash\ncp /nowhere . 2>/dev/null || {\n  echo no >/dev/null\n  exit 9\n}\n",
            "setup.sh line 2: `cp /nowhere .` exited with 1, and the script with 9",
        ),
        ("#!/bin/bash\nexit 4\n", "setup.sh line 2: `exit 4` exited with 4"),
        (
            "#!/bin/bash\nset -e\ntrap 'rm -f x; true' EXIT\nx=$(echo one)\nsh -c 'exit 5'\n",
            "setup.sh line 5: `sh -c 'exit 5'` exited with 5",
        ),
        (
            "#!/bin/bash\nset -e\ntrap 'sh -c \"exit 3\" || true; true' EXIT\nsh -c 'exit 5'\n",
            "setup.sh line 4: `sh -c 'exit 5'` exited with 5",
        ),
        ("#!/bin/bash\nset -e\n. ./more.sh\n", "setup.sh, more.sh line 2: `sh -c 'exit 6'` exited with 6"),
        ("#!/bin/bash -e\nPS4='> '\nfalse\n", "setup.sh line 2: `PS4='> '` exited with 1"),
    ],
    ids=[
        "set -e",
        "no first line",
        "last",
        "function",
        "handled",
        "exit",
        "trap",
        "trap that fails",
        "sourced",
        "own PS4",
    ],
)
def test_the_line_that_failed_is_named_with_its_command_and_exit_code(tmp_path, script, sentence):
    (tmp_path / "more.sh").write_text("true\nsh -c 'exit 6'\n")
    code, said, trace = run(tmp_path, script)
    assert code
    assert blame("setup.sh", code, "", 360, trace, said) == sentence


PROBES = [
    "echo out; echo err >&2; echo $0; echo \"$@\"; echo $-| tr -d x; env | sort | grep -v '^_=\\|^SHLVL='",
    'x=$(ls /nowhere 2>&1); echo "[$x]"; { echo a; cat /nowhere; } 2>&1 | sort',
    "exec 2>&1; echo to both >&2; bash -c 'echo $BASH_ENV $BASH_XTRACEFD $PS4'; sh -c 'echo $-'",
    "set -u; f() { echo \"$1\"; return 3; }; f 1; echo $?; trap 'echo bye' EXIT; (exit 2); echo $?",
    "echo 'a\\nb'; ls -l /proc/self/fd | wc -l",
    "exec 9>lock; flock 9 && echo locked; [ -e lock ] && cat <<X\nhere $((1 + 1))\nX",
]


@pytest.mark.parametrize("first", ["#!/bin/bash", "#!/bin/sh", ""])
@pytest.mark.parametrize("probe", PROBES)
def test_a_traced_script_prints_what_it_would_print_untraced(tmp_path, first, probe):
    """Its output, its environment and that of its children, its options; but for one descriptor and SHLVL, of which it does not know."""
    script = first + "\n" + probe + "\n"
    path = tmp_path / "plain.sh"
    path.write_text(script)
    path.chmod(0o700)
    shell = "/bin/bash" if "bash" in first else "/bin/sh"
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    plain = subprocess.run([shell, str(path)], env=environment, capture_output=True, text=True, cwd=tmp_path)
    code, said, trace = run(tmp_path, script, name="plain.sh")
    assert trace
    wanted = plain.stdout + plain.stderr
    if "fd | wc" in probe:
        wanted, said = wanted.split("\n")[:-2], said.split("\n")[:-2]
    if "echo $-" in probe:
        wanted, said = (
            "\n".join(line for line in text.split("\n") if not set(line) <= set("hBc")) for text in (wanted, said)
        )
    assert (code, said) == (plain.returncode, wanted)


def test_what_is_no_shell_script_is_started_as_it_is_and_told_by_its_last_words():
    assert start("/x", "#!/usr/bin/env python3", "/bin/bash", False, "/t") == Start(("python3", "/x"), "")
    assert start("/x", "#!/usr/bin/python3 -I", "/bin/bash", False, "/t") == Start(("/usr/bin/python3", "-I", "/x"), "")
    assert start("/x", "#!/bin/sh", None, False, "/t") == Start(("/bin/sh", "/x"), ""), "no bash, no trace"
    told = blame("setup.py", 1, "", 360, "", "Traceback …\nValueError: no\n\n")
    assert told == "setup.py exited with 1: ValueError: no"


def test_a_sentence_is_short_whatever_a_script_does():
    """A command of a megabyte, a trace that begins in the middle of a line, bytes that are none."""
    trace = "of a line\n\x010|1|setup.sh|%s\n\x01\x01" % ("x" * 1000000)
    told = blame("setup.sh", 1, "", 360, trace, "y" * 1000000)
    assert len(told) < COMMAND_MAX + 300
    assert steps("\x01no\n\x01|\n") == []
    assert blame("setup.sh", 137, "disk", 360, "", "") == "setup.sh filled the disk of the host"
