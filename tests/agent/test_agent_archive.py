"""The whole work folder as one archive, whatever its author put into it; and the folder under another name."""

import os
import tarfile

import pytest
from agent_machine import a_job

from agent.archive import pack


def names(path):
    with tarfile.open(path) as tar:
        return {m.name: (m.type, m.linkname) for m in tar.getmembers()}


def test_files_folders_and_links_are_kept_and_nothing_is_followed(tmp_path):
    """A link leads where its author wrote, and what it leads to is not read; a pipe is left out and waits for nobody."""
    work = tmp_path / "work"
    (work / "a/b").mkdir(parents=True)
    (work / "a/b/c.txt").write_text("hello")
    (work / "empty").mkdir()
    os.symlink("/etc/shadow", work / "link")
    os.mkfifo(work / "pipe")
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path, work / "out")
    size, problem = pack(str(work), str(tmp_path / "x.tar.gz"), 1 << 20)
    assert (size, problem) == ((tmp_path / "x.tar.gz").stat().st_size, "")
    found = names(tmp_path / "x.tar.gz")
    assert set(found) == {"a", "a/b", "a/b/c.txt", "empty", "link", "out"}
    assert found["link"] == (tarfile.SYMTYPE, "/etc/shadow")
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        assert tar.extractfile("a/b/c.txt").read() == b"hello"


def test_too_much_is_said_and_what_is_kept_can_be_read(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    for n in range(10):
        (work / f"f{n}").write_bytes(b"x" * 1000)
    _, problem = pack(str(work), str(tmp_path / "x.tar.gz"), 3500)
    assert "not whole" in problem
    assert 3 <= len(names(tmp_path / "x.tar.gz")) <= 5


def test_a_name_that_is_no_text_is_left_out_and_said(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "good").write_text("x")
    with open(os.fsencode(work) + b"/b\xff", "w") as file:
        file.write("x")
    _, problem = pack(str(work), str(tmp_path / "x.tar.gz"), 1 << 20)
    assert "is not in the archive" in problem
    assert set(names(tmp_path / "x.tar.gz")) == {"good"}


@pytest.mark.usefixtures("sandboxed")
def test_a_job_may_live_in_another_folder_and_keep_all_of_it(machine):
    """Also where it fails: `/grade` is what it sees, and the archive holds what it left."""
    job = a_job(
        command="pwd; echo $HOME; ls /job 2>&1; echo left > here.txt; mkdir deep; exit 4",
        inputs=[{"path": "given.txt", "text": "given"}],
        folder="/grade",
        archive=True,
        outputs=["archive.tar.gz", "here.txt"],
    )
    one = machine(assignments=[job]).start()
    finish = one.wait("finish")
    assert (finish["outcome"], finish["exit_code"]) == ("failed", 4)
    assert finish["log"]["text"].splitlines()[:2] == ["/grade", "/grade"]
    assert "No such file" in finish["log"]["text"]
    assert sorted(output["path"] for output in finish["outputs"]) == ["archive.tar.gz", "here.txt"]
    key = f"hosts/{one.userid}/job-1/1/out/archive.tar.gz"
    path = one.root / "archive.tar.gz"
    path.write_bytes(one.s3.get_object(Bucket=one.bucket, Key=key)["Body"].read())
    assert set(names(path)) == {"given.txt", "here.txt", "deep"}


@pytest.mark.parametrize("folder", ["grade", "/", "/a/b", "/Grade", "/.x", 7, "/a b", "/" + "x" * 40])
def test_a_folder_that_is_no_name_below_the_root_is_refused(folder):
    from agent.manifest import Wrong, assignment

    with pytest.raises(Wrong):
        assignment({"job": "j", "attempt": 1, "command": "true", "folder": folder})
