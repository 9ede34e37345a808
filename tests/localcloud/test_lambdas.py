"""Deployed functions run in processes of their own, as Lambda would run them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from small_cloud import SmallCloud, eventually, in_parallel, package, small_cloud

ECHO = """
    import json, os, sys, time
    def handler(event, context):
        event = event or {}
        print("saw", json.dumps(event))
        if event.get("raise"): raise ValueError(event["raise"])
        if event.get("exit"): os._exit(event["exit"])
        if event.get("sleep"): time.sleep(event["sleep"])
        if event.get("grow"):
            held = []
            while True:
                held.append(bytearray(1 << 20))
                time.sleep(0.001)
        return {"pid": os.getpid(), "environ": dict(os.environ), "path": sys.path, "id": context.aws_request_id,
                "left_ms": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn}
    """


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    with small_cloud(tmp_path, async_retry_s=(0.05, 0.1)) as cloud:
        yield cloud


def answer(cloud: SmallCloud, name: str, event: object = None) -> dict:
    invocation = cloud.invoke(name, event)
    assert invocation.ok, invocation.payload
    return json.loads(invocation.payload)


def stats(cloud: SmallCloud, name: str):
    return next(stats for stats in cloud.functions.stats() if stats.name == name)


def test_a_warm_worker_is_used_again(cloud: SmallCloud) -> None:
    """The second invocation runs in the process of the first; only the first was a cold start, and it was measured."""
    cloud.deploy("echo", ECHO)
    first, second = cloud.invoke("echo"), cloud.invoke("echo")
    assert json.loads(first.payload)["pid"] == json.loads(second.payload)["pid"]
    assert (first.cold_start, second.cold_start) == (True, False)
    assert stats(cloud, "echo").cold_starts == 1
    assert 0 < stats(cloud, "echo").cold_start_ms[0] < 30_000


def test_a_function_sees_only_its_own_environment(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is configured, what Lambda sets, credentials of its role and our endpoint; nothing of the developer's."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    monkeypatch.setenv("SECRET_OF_THE_DEVELOPER", "1")
    cloud.deploy("echo", ECHO, Environment={"Variables": {"MY_SETTING": "7"}})
    environ = answer(cloud, "echo")["environ"]
    assert environ["MY_SETTING"] == "7"
    assert environ["AWS_ENDPOINT_URL"] == cloud.front.url
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == "echo"
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environ["_HANDLER"] == "app.handler"
    principal = cloud.identities.principal(environ["AWS_ACCESS_KEY_ID"])
    assert principal is not None
    assert (principal.role, principal.session) == ("worker", "echo")
    assert not {"HTTPS_PROXY", "SECRET_OF_THE_DEVELOPER", "VIRTUAL_ENV", "PYTHONPATH"} & environ.keys()
    assert Path(environ["HOME"]).is_relative_to(cloud.folder)
    assert Path(environ["TMPDIR"]).is_relative_to(cloud.folder)


def test_a_package_that_forgot_a_dependency_fails_as_in_lambda(cloud: SmallCloud) -> None:
    """boto3 is installed where this test runs, but the package does not hold it: the import fails."""
    cloud.deploy("forgetful", "import boto3\ndef handler(event, context): return 1")
    invocation = cloud.invoke("forgetful")
    assert invocation.error == "Unhandled"
    document = json.loads(invocation.payload)
    assert document["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'boto3'" in document["errorMessage"]


def test_the_import_path_is_the_package_the_runtime_client_and_the_standard_library(cloud: SmallCloud) -> None:
    """No site-packages, and the package comes first."""
    cloud.deploy("echo", ECHO)
    path = answer(cloud, "echo")["path"]
    assert Path(path[0]).is_relative_to(cloud.folder)
    assert not [entry for entry in path if "site-packages" in entry]
    assert {entry.name for entry in Path(path[1]).iterdir() if not entry.name.startswith("runtime_client")} == {
        "awslambdaric",
        "simplejson",
        "snapshot_restore_py.py",
    }


def test_the_context_knows_deadline_request_and_arn(cloud: SmallCloud) -> None:
    """get_remaining_time_in_millis counts down from the configured timeout."""
    arn = cloud.deploy("echo", ECHO, Timeout=7)
    seen = answer(cloud, "echo")
    assert 5_000 < seen["left_ms"] <= 7_000
    assert seen["arn"] == arn


def test_an_exception_is_an_error_with_its_type(cloud: SmallCloud) -> None:
    """The error document names the exception and the worker stays warm."""
    cloud.deploy("echo", ECHO)
    pid = answer(cloud, "echo")["pid"]
    invocation = cloud.invoke("echo", {"raise": "boom"})
    document = json.loads(invocation.payload)
    assert (invocation.status, invocation.error) == (200, "Unhandled")
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "boom")
    assert answer(cloud, "echo")["pid"] == pid


def test_a_timeout_kills_the_worker(cloud: SmallCloud) -> None:
    """The invocation fails with Lambda's sentence and the process is gone; the next one starts another."""
    cloud.deploy("echo", ECHO, Timeout=1)
    pid = answer(cloud, "echo")["pid"]
    invocation = cloud.invoke("echo", {"sleep": 30})
    assert "Task timed out after 1.00 seconds" in json.loads(invocation.payload)["errorMessage"]
    assert invocation.duration_ms < 3_000
    eventually(lambda: not psutil.pid_exists(pid))
    assert answer(cloud, "echo")["pid"] != pid
    assert stats(cloud, "echo").kills == 1


def test_memory_beyond_the_configured_size_kills_the_worker(cloud: SmallCloud) -> None:
    """A function that grows for ever is ended soon after it passes its MemorySize, and the answer says how much it used."""
    cloud.deploy("echo", ECHO, MemorySize=128, Timeout=20)
    invocation = cloud.invoke("echo", {"grow": True})
    message = json.loads(invocation.payload)["errorMessage"]
    assert "signal: killed" in message
    assert "128 MiB configured" in message


def test_a_process_that_ends_by_itself_is_an_error(cloud: SmallCloud) -> None:
    """Runtime.ExitError with the exit status, and the next invocation works."""
    cloud.deploy("echo", ECHO)
    document = json.loads(cloud.invoke("echo", {"exit": 3}).payload)
    assert document["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in document["errorMessage"]
    assert answer(cloud, "echo")


def test_reserved_concurrency_throttles(cloud: SmallCloud) -> None:
    """With one reserved, a second invocation at the same time is refused with 429."""
    cloud.deploy("echo", ECHO)
    cloud.front.client("lambda").put_function_concurrency(FunctionName="echo", ReservedConcurrentExecutions=1)
    statuses = [invocation.status for invocation in in_parallel(3, lambda _: cloud.invoke("echo", {"sleep": 0.5}))]
    assert sorted(statuses) == [200, 429, 429]
    assert stats(cloud, "echo").throttles == 2


def test_without_reserved_concurrency_more_invocations_wait(tmp_path: Path) -> None:
    """The laptop's limit is not Lambda's: nobody is refused, and no more than the limit run at a time."""
    with small_cloud(tmp_path, concurrency_default=2) as cloud:
        cloud.deploy("echo", ECHO)
        invocations = in_parallel(6, lambda _: cloud.invoke("echo", {"sleep": 0.1}))
        assert all(invocation.ok for invocation in invocations)
        assert 1 <= len({json.loads(invocation.payload)["pid"] for invocation in invocations}) <= 2


def test_a_short_burst_waits_for_the_warm_worker(tmp_path: Path) -> None:
    """Another worker is started only when somebody has waited long enough; until then the warm one serves them all."""
    with small_cloud(tmp_path, grow_after_s=30) as cloud:
        cloud.deploy("echo", ECHO)
        answer(cloud, "echo")
        assert all(invocation.ok for invocation in in_parallel(8, lambda _: cloud.invoke("echo", {"sleep": 0.02})))
        assert stats(cloud, "echo").cold_starts == 1


def test_a_long_queue_starts_another_worker(cloud: SmallCloud) -> None:
    """Whoever waits while the only worker is busy for long gets a new one."""
    cloud.deploy("echo", ECHO)
    answer(cloud, "echo")
    pids = {json.loads(i.payload)["pid"] for i in in_parallel(2, lambda _: cloud.invoke("echo", {"sleep": 3}))}
    assert len(pids) == 2


def test_new_code_replaces_workers(cloud: SmallCloud) -> None:
    """After an update the next invocation runs the new code."""
    cloud.deploy("version", "def handler(event, context): return 1")
    assert cloud.invoke("version").payload == b"1"
    new = package("def handler(event, context): return 2")
    cloud.front.client("lambda").update_function_code(FunctionName="version", ZipFile=new)
    assert cloud.invoke("version").payload == b"2"


def test_new_configuration_replaces_workers(cloud: SmallCloud) -> None:
    """After an update of the environment the next invocation sees it."""
    cloud.deploy("echo", ECHO)
    answer(cloud, "echo")
    change = {"Variables": {"COLOUR": "green"}}
    cloud.front.client("lambda").update_function_configuration(FunctionName="echo", Environment=change)
    assert answer(cloud, "echo")["environ"]["COLOUR"] == "green"


def test_boto3_invoke_runs_the_function(cloud: SmallCloud) -> None:
    """RequestResponse answers with the payload; a failure is told by FunctionError; an unknown function is refused."""
    cloud.deploy("echo", ECHO)
    client = cloud.front.client("lambda")
    good = client.invoke(FunctionName="echo", Payload=b'{"a": 1}')
    assert json.load(good["Payload"])["pid"]
    assert "FunctionError" not in good
    bad = client.invoke(FunctionName="echo", Payload=b'{"raise": "no"}')
    assert (bad["StatusCode"], bad["FunctionError"]) == (200, "Unhandled")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody")


def test_an_event_invocation_is_tried_three_times_and_dropped_with_a_log_line(cloud: SmallCloud) -> None:
    """Asynchronous: accepted at once; a failing function is tried twice more, then the drop is written into its log."""
    cloud.deploy("echo", ECHO)
    accepted = cloud.front.client("lambda").invoke(
        FunctionName="echo", InvocationType="Event", Payload=b'{"raise": "always"}'
    )
    assert accepted["StatusCode"] == 202
    log = cloud.folder / "logs" / "echo.log"
    eventually(lambda: log.exists() and "DROPPED" in log.read_text())
    assert stats(cloud, "echo").invocations == 3


def test_the_log_reads_like_lambdas(cloud: SmallCloud) -> None:
    """START, what was printed, END, REPORT with the init duration of a cold start; tracebacks on lines of their own."""
    cloud.deploy("echo", ECHO)
    request_id = answer(cloud, "echo", {"a": 1})["id"]
    cloud.invoke("echo", {"raise": "boom"})
    lines = cloud.log("echo").splitlines()
    start = lines.index(f"START RequestId: {request_id} Version: $LATEST")
    assert lines[start + 1] == 'saw {"a": 1}'
    assert lines[start + 2] == f"END RequestId: {request_id}"
    assert lines[start + 3].startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "Init Duration" in lines[start + 3]
    assert "[ERROR] ValueError: boom" in lines
    assert "\r" not in cloud.log("echo")


def test_stop_leaves_no_process(tmp_path: Path) -> None:
    """Idle workers, busy workers and what they started themselves are all gone."""
    with small_cloud(tmp_path) as cloud:
        code = """
            import subprocess, time
            def handler(event, context):
                child = subprocess.Popen(["sleep", "300"])
                print("child", child.pid, flush=True)
                time.sleep(300)
            """
        cloud.deploy("busy", code, Timeout=300)
        cloud.deploy("echo", ECHO)
        cloud.invoke("echo")
        cloud.functions.invoke("busy", b"{}", wait=False)
        log = tmp_path / "logs" / "busy.log"
        eventually(lambda: log.exists() and "child" in log.read_text())
        child = int(log.read_text().split("child ")[1].split()[0])
        pids = [*cloud.functions.pids(), child]
        assert len(pids) == 3
    eventually(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_parent_leaves_nobody(tmp_path: Path) -> None:
    """SIGKILL gives no chance to clean up: workers notice that their lifeline ended and go, with what they started."""
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from small_cloud import small_cloud
        with small_cloud(Path({str(tmp_path)!r})) as cloud:
            cloud.deploy("parent", '''
            import subprocess, time
            def handler(event, context):
                child = subprocess.Popen(["sleep", "300"])
                time.sleep(0.2)
                return child.pid
            ''')
            child = cloud.invoke("parent").payload.decode()
            print(*cloud.functions.pids(), child, flush=True)
            time.sleep(300)
        """
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        eventually(lambda: not any(_alive(pid) for pid in pids))
    finally:
        parent.kill()
        parent.wait(10)


def test_a_package_may_not_write_outside_of_its_folder(cloud: SmallCloud) -> None:
    """A zip that names ../ is refused, and the invocation says why."""
    client = cloud.front.client("lambda")
    code = package("def handler(event, context): return 1", **{"../../evil.py": "x"})
    client.create_function(
        FunctionName="evil", Runtime="python3.11", Role=cloud.role(), Handler="app.handler", Code={"ZipFile": code}
    )
    document = json.loads(cloud.invoke("evil").payload)
    assert "outside of its folder" in document["errorMessage"]
    assert not list(cloud.folder.rglob("evil.py"))


def test_a_large_payload_travels_both_ways(cloud: SmallCloud) -> None:
    """Five megabytes in and out; more than Lambda's limit is refused."""
    cloud.deploy("mirror", "def handler(event, context): return event")
    text = "x" * 5_000_000
    assert json.loads(cloud.invoke("mirror", text).payload) == text
    assert cloud.invoke("mirror", "x" * 7_000_000).status == 413


def test_warm_invocations_are_quick(cloud: SmallCloud) -> None:
    """A warm invocation costs milliseconds; with Nagle's algorithm each would cost 40 and more."""
    cloud.deploy("quick", "def handler(event, context): return 1")
    cloud.invoke("quick")
    times = []
    for _ in range(50):
        began = time.perf_counter()
        cloud.invoke("quick")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.015, "a busy machine slows many of them, but not all"


def test_prewarm_starts_a_worker_before_the_first_invocation(cloud: SmallCloud) -> None:
    """The cold start is paid and counted at once; the first invocation finds a warm worker."""
    cloud.deploy("echo", ECHO)
    cloud.functions.prewarm()
    eventually(lambda: stats(cloud, "echo").cold_starts == 1)
    answer(cloud, "echo")
    assert stats(cloud, "echo").cold_starts == 1


def test_a_fault_kills_a_function_in_the_middle(cloud: SmallCloud) -> None:
    """`kill` ends the busy worker and the invocation fails as if the sandbox had died."""
    cloud.deploy("echo", ECHO)
    results: list = []
    cloud.functions.begin("echo", b'{"sleep": 8}', results.append)
    eventually(lambda: cloud.functions.kill("echo"))
    eventually(lambda: results)
    assert results[0].error == "Unhandled"
    assert os.getpid() not in cloud.functions.pids()
