"""What an attempt finds in its work folder, beside uploads: objects of other buckets."""

import io
import tarfile

import pytest
from agent_machine import a_job

pytestmark = pytest.mark.usefixtures("sandboxed")


def an_archive(**files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def signed(one, key, expires_s=600):
    return one.s3.generate_presigned_url("get_object", Params={"Bucket": one.bucket, "Key": key}, ExpiresIn=expires_s)


def test_an_object_of_another_bucket_is_fetched_and_unpacked(machine):
    """By its signed address, which is named by the object's own; nothing of it is kept on the host."""
    one = machine()
    one.s3.put_object(Bucket=one.bucket, Key="theirs/job.tar.gz", Body=an_archive(run="echo unpacked $(cat ../plain)"))
    packed, plain = "s3://theirs/job.tar.gz", "s3://theirs/plain"
    one.s3.put_object(Bucket=one.bucket, Key="theirs/plain", Body=b"plain")
    job = a_job(
        command="cd grade && sh run",
        inputs=[{"path": "grade", "s3": packed, "unpack": True}, {"path": "plain", "s3": plain}],
        urls={packed: signed(one, "theirs/job.tar.gz"), plain: signed(one, "theirs/plain")},
    )
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    finish = one.wait("finish")
    assert finish["log"]["text"] == "unpacked plain\n", finish
    assert one.wait("idle")["holds"] == []


def test_an_object_that_is_not_there_fails_its_job_with_a_sentence(machine):
    """Fresh addresses would not bring it."""
    one = machine()
    address = "s3://theirs/none"
    inputs = [{"path": "x", "s3": address}]
    one.manifest["hosts"][0]["assignments"] = [a_job(inputs=inputs, urls={address: signed(one, "none")})]
    one.start()
    refused = one.wait("refused")
    assert (refused["why"], refused["reason"]) == ("bad_input", "input s3://theirs/none is not there (404)")


def test_an_object_whose_signed_address_has_not_come_is_waited_for(machine):
    """It comes by the inbox, as those of uploads do."""
    one = machine(inbox=True)
    one.s3.put_object(Bucket=one.bucket, Key="x", Body=b"late")
    job = a_job(command="cat x", inputs=[{"path": "x", "s3": "s3://theirs/x"}])
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    one.wait("hello")
    one.write_inbox(1, [{**job, "urls": {"s3://theirs/x": signed(one, "x")}}])
    assert one.wait("finish")["log"]["text"] == "late"
