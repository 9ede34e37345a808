"""What goes into a work folder, and what may come out of it."""

import gzip
import io
import json
import os
import tarfile
import time
import tracemalloc
import zipfile

import pytest

from agent.outputs import find, pattern, read_result
from agent.unpack import Hostile, place, unpack


def a_tar(path, *members):
    """`members`: (name, kind, content or target)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o4777
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                tar.addfile(info)
    return str(path)


FILE, LINK, HARD, DEVICE, PIPE = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../out", FILE, b"x")],
        [("/tmp/out", FILE, b"x")],
        [("a/../../out", FILE, b"x")],
        [("link", LINK, "/etc")],
        [("link", LINK, "..")],
        [("d/link", LINK, "../../x")],
        [("link", LINK, "."), ("link/../../out", FILE, b"x")],
        [("d/f", FILE, b"x"), ("link", LINK, "d/f"), ("link", FILE, b"through the link")],
        [("a", LINK, "c/b/../../x"), ("c/b", LINK, "..")],
        [("hard", HARD, "../secret")],
        [("hard", HARD, "/etc/passwd")],
        [("dev", DEVICE, "")],
        [("pipe", PIPE, "")],
        [("f", FILE, b"x"), ("f/under", FILE, b"x")],
        [("big", FILE, b"x" * 2000)],
        [(f"many{n}", FILE, b"") for n in range(30)],
    ],
)
def test_an_archive_that_wants_out_is_refused(tmp_path, members):
    """By whatever way; and nothing of it lands outside."""
    inside = tmp_path / "deep" / "in"
    inside.mkdir(parents=True)
    (tmp_path / "deep" / "secret").write_text("secret")
    archive = a_tar(tmp_path / "a.tgz", *members)
    with pytest.raises(Hostile):
        unpack(archive, str(inside), bytes_max=1000, members_max=20)
    assert sorted(path.name for path in tmp_path.rglob("*") if inside not in path.parents) == [
        "a.tgz",
        "deep",
        "in",
        "secret",
    ]


def test_an_honest_archive_is_unpacked_without_its_privileges(tmp_path):
    """Folders, files, links inside, hard links; no set-user-id bit, no foreign owner."""
    inside = tmp_path / "in"
    inside.mkdir()
    members = [("./d/run.sh", FILE, b"#!/bin/sh\n"), ("d/link", LINK, "run.sh"), ("again", HARD, "d/run.sh")]
    unpack(a_tar(tmp_path / "a.tgz", *members), str(inside))
    assert (inside / "d/link").read_bytes() == b"#!/bin/sh\n"
    assert (inside / "again").read_bytes() == b"#!/bin/sh\n"
    assert (inside / "d/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (inside / "d/run.sh").stat().st_uid == os.getuid()


def test_a_zip_file_is_held_to_the_same_rules(tmp_path):
    """Names that climb, links out, bombs; an honest one is unpacked."""
    inside = tmp_path / "in"
    inside.mkdir()

    def a_zip(*members):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name, mode, content in members:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(info, content)
        return str(tmp_path / "a.zip")

    for members in (
        [("../x", 0o100644, "x")],
        [("/x", 0o100644, "x")],
        [("link", 0o120777, "/etc/passwd")],
        [("link", 0o120777, "../x")],
        [("bomb", 0o100644, "0" * 100000)],
    ):
        with pytest.raises(Hostile):
            unpack(a_zip(*members), str(inside), bytes_max=5000)
    unpack(a_zip(("d/", 0o40755, ""), ("d/f", 0o100755, "hi"), ("l", 0o120777, "d/f")), str(inside))
    assert (inside / "l").read_text() == "hi"


@pytest.mark.parametrize("junk", [b"", b"no archive", b"PK\x03\x04 broken", b"\x1f\x8b broken gzip", b"BZh9broken"])
def test_what_is_no_archive_is_refused_with_a_sentence(tmp_path, junk):
    """Never a traceback, never half an answer."""
    (tmp_path / "a").write_bytes(junk)
    (tmp_path / "in").mkdir()
    with pytest.raises(Hostile, match="archive"):
        unpack(str(tmp_path / "a"), str(tmp_path / "in"))


@pytest.mark.parametrize("path", ["/x", "../x", "a/../../x", "", ".", "a\0b", "out/x", "file/x"])
def test_an_input_path_stays_in_the_work_folder(tmp_path, path):
    """Also when an earlier input has put a link or a file in the way."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "out").symlink_to(tmp_path)
    (work / "file").write_text("")
    with pytest.raises(Hostile):
        place(str(work), path)


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("report/*.html", "report/a.html", True),
        ("report/*.html", "report/x/a.html", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "a/b/c.txt", True),
        ("out", "out/a/b", True),
        ("out/**", "out/a/b", True),
        ("*.t?t", "a.t/t", False),
        ("a.b", "axb", False),
        ("[!ab].c", "a.c", False),
        ("[!ab]c", "/c", False),
        ("a*b*c", "a/b/c", False),
        ("[", "[", True),
        ("[z-a]", "[z-a]", True),
        ("*", "a\nb", True),
        ("**/a/**/*.t?t", "a/x/a/y/b.txt", True),
        ("**/a/**/b/**", "x/a/b", False),
        ("a*b*b*c", "a-b-bb-c", True),
        ("*[ab]?*", "xxa", False),
    ],
)
def test_globs_name_what_people_expect(glob, path, expected):
    """A star stays in its folder, two stars cross folders, a folder means what is in it."""
    assert bool(pattern(glob).match(path)) is expected


@pytest.mark.parametrize(
    ("glob", "path"),
    [("*a" * 5 + "b", "a" * 250), ("**/" * 7 + "x", "a/" * 390 + "y"), ("**/*a*a*/" * 7 + "x", "aaaaa/" * 130 + "y")],
)
def test_no_glob_takes_long(glob, path):
    """Nothing else of the agent runs meanwhile: its host would be lost, and the next one after it."""
    begun = time.process_time()
    assert not pattern(glob).match(path)
    assert time.process_time() - begun < 0.5


def test_links_are_not_outputs(tmp_path):
    """Neither a link to a file outside nor files behind a linked folder."""
    (tmp_path / "work/real").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("s")
    (tmp_path / "work/real/f").write_text("f")
    (tmp_path / "work/link").symlink_to("/etc/passwd")
    (tmp_path / "work/folder").symlink_to(tmp_path / "outside")
    found = find(str(tmp_path / "work"), ["**", "../outside/*"])
    assert found.files == (("real/f", 1),)
    assert found.problem


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"a": ', "is not JSON"),
        (b"NaN", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'"\\ud800"', "is not JSON"),
        (b"[" * 20000, "is not JSON"),
        (b'"' + b"x" * 40000 + b'"', "larger than 32 KiB"),
        (None, "wrote no result"),
    ],
)
def test_a_bad_result_is_none_and_told(tmp_path, content, word):
    """The job's outcome stays its own."""
    if content is not None:
        (tmp_path / "result.json").write_bytes(content)
    result, problem = read_result(str(tmp_path), "result.json")
    assert result is None
    assert word in problem


def test_a_result_is_never_read_from_outside(tmp_path):
    """A link to another file on the host would publish it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "secret.json").write_text(json.dumps("secret"))
    (tmp_path / "work/result.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(tmp_path / "work/pipe")
    assert read_result(str(tmp_path / "work"), "result.json")[0] is None
    assert read_result(str(tmp_path / "work"), "../secret.json")[0] is None
    assert read_result(str(tmp_path / "work"), "pipe")[0] is None


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_an_archive_does_not_fill_the_agents_memory(tmp_path, kind):
    """It is read at once: 300 kB of archive, 600 MB of the agent, which is root and in nobody's limits."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 << 20
    with gzip.open(str(tmp_path / "a.tgz"), "wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(b"\0" * (1 << 20))
    (tmp_path / "in").mkdir()
    tracemalloc.start()
    try:
        with pytest.raises(Hostile, match="header"):
            unpack(str(tmp_path / "a.tgz"), str(tmp_path / "in"))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_the_map_of_a_sparse_file_does_not_fill_the_agents_memory(tmp_path):
    """Its own author says how long it is, too."""
    path = str(tmp_path / "a.tgz")
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("GNUSparseFile.0/x")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
        member.pax_headers["GNU.sparse.realsize"] = "1"
        data = b"1000000000\n" + b"1\n" * (4 << 20)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    (tmp_path / "in").mkdir()
    with pytest.raises(Hostile, match="sparse"):
        unpack(path, str(tmp_path / "in"))
    header = tarfile.TarInfo("x")
    header.type = tarfile.GNUTYPE_SPARSE
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(Hostile, match="sparse"):
        unpack(path, str(tmp_path / "in"))
