"""Who is told that a job has ended, and how."""

from __future__ import annotations

from town import Town

from chalicelib.core.job_spec import Notify


def test_the_topic_is_told_of_an_end() -> None:
    town = Town()
    job = town.submit("run 5", notify=Notify(topic=True))
    quiet = town.submit("run 5")
    town.run(120)
    told = [n for n in town.cloud.notices.published if n["type"] == "job_finished"]
    assert [n["subject"] for n in told] == [job.id], f"not {quiet.id}, which nobody asked about"
    assert told[0]["detail"]["state"] == "succeeded"
