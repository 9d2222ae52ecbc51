"""What it costs: a backlog caught up with, and a thousand shards on which nothing happens."""

import json
import os
import subprocess
import time

import subjects
from counting import Counted

RECORDS = 1_000_000
SIZE = 100
SHARDS = 4
PUT_MAX = 500
# What the KCL 3 and kcl-rs have as their least.
IDLE_MILLIS = 200
CATCH_UP_SECONDS = 240
MANY = 1_000
HOLD_SECONDS = 240
QUIET_SECONDS = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def fill(backend, stream):
    """A backlog of records of one size, evenly over the shards."""
    backend.stream(stream, SHARDS)
    kinesis = backend.client("kinesis")
    data = b"x" * SIZE
    for start in range(0, RECORDS, PUT_MAX):
        records = [{"Data": data, "PartitionKey": str(number)} for number in range(start, start + PUT_MAX)]
        kinesis.put_records(StreamName=stream, Records=records)


def catch_up(subject, backend, stream, arguments):
    """Drains the backlog as an application of its own; what a batch holds is counted and dropped."""
    output = arguments.work / f"catch-up-{subject.name}.records"
    output.unlink(missing_ok=True)
    starter = subjects.starter(backend, arguments.work, arguments)
    application = f"catch-up-{subject.name}"
    if subject.kind == "shardmill":
        return catch_up_ours(starter, stream, application, output, arguments)
    consumer = subject.start(starter, stream, application, output, subject.name, "short", idle=IDLE_MILLIS, count="")
    try:
        pid, first, records = consumer.process.pid, None, 0
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while records < RECORDS:
            consumer.check_alive()
            if time.monotonic() > deadline:
                return {"not in time": f"{records} of {RECORDS} records in {CATCH_UP_SECONDS} s"}
            time.sleep(0.01)
            if output.exists():
                records = sum(int(line) for line in output.read_text(encoding="ascii").splitlines())
            if records and first is None:
                first, before = time.monotonic(), cpu_seconds(pid)
        seconds, cpu = time.monotonic() - first, cpu_seconds(pid)
        return rates(seconds, cpu, cpu - before, status(pid, "VmHWM") * 1024 / 1e6)
    finally:
        starter.stop_all()


def catch_up_ours(starter, stream, application, output, arguments):
    """The summary of ``run --until-caught-up`` has it all."""
    job = {"task.class": "count-batch"}
    consumer = starter.shardmill(
        stream, application, output, job, arguments=["--until-caught-up"], IdleTimeBetweenReadsInMillis=IDLE_MILLIS
    )
    try:
        printed, _ = consumer.process.communicate(timeout=CATCH_UP_SECONDS)
    except subprocess.TimeoutExpired:
        return {"not in time": f"not {RECORDS} records in {CATCH_UP_SECONDS} s"}
    finally:
        starter.stop_all()
    summary = json.loads(printed)
    assert summary["envelopes"] == RECORDS, summary
    return rates(summary["since_first_record_ms"] / 1000, summary["cpu_seconds"], None, summary["peak_rss_mb"])


def rates(seconds, cpu, drain_cpu, peak_mb):
    results = {
        "catch-up, MB/s": [RECORDS * SIZE / seconds / 1e6],
        "catch-up, CPU-s per million, with the start": [cpu * 1e6 / RECORDS],
        "catch-up, peak RSS, MB": [peak_mb],
    }
    if drain_cpu is not None:
        results["catch-up, CPU-s per million, from the first record on"] = [drain_cpu * 1e6 / RECORDS]
    return results


def idle_shards(subject, backend, arguments, say):
    """The memory of one process per idle shard, beside the same with one shard; its calls and threads."""
    results = {}
    one = hold(subject, backend, arguments, 1, results)
    many = hold(subject, backend, arguments, MANY, results)
    if one and many:
        results["resident KB per idle shard"] = [(many - one) / (MANY - 1)]
    for what, value in results.items():
        say(f"{subject.name}: {what} {value}")
    return results


def hold(subject, backend, arguments, shards, results):
    """Resident KB of a process that holds so many shards; notes how it got there and what it does."""
    name = f"idle-{subject.name}-{shards}"
    backend.stream(name, shards)
    kinesis, dynamodb = Counted(backend.kinesis), Counted(backend.dynamodb)
    starter = subjects.starter(backend, arguments.work, arguments, kinesis.endpoint, dynamodb.endpoint)
    output = arguments.work / f"{name}.records"
    output.unlink(missing_ok=True)
    table = backend.client("dynamodb")
    began = time.monotonic()
    consumer = subject.start(starter, name, name, output, name, "short", idle=1000)
    pid = consumer.process.pid
    try:
        while sum(1 for owner in subjects.leases(table, name).values() if owner) < shards:
            consumer.check_alive()
            if time.monotonic() > began + HOLD_SECONDS:
                results["not in time"] = [f"{shards} leases in {HOLD_SECONDS} s"]
                return None
            time.sleep(0.1)
        taken = time.monotonic() - began
        # Every shard has been read a few times by then.
        while sum(kinesis.calls.values()) < 5 * shards and time.monotonic() < began + HOLD_SECONDS:
            time.sleep(0.1)
        reading = time.monotonic() - began
        before, cpu, since = (kinesis.calls.copy(), dynamodb.calls.copy()), cpu_seconds(pid), time.monotonic()
        time.sleep(QUIET_SECONDS)
        seconds = time.monotonic() - since
        if shards == MANY:
            results[f"{MANY} shards: all leases taken after, s"] = [taken]
            results[f"{MANY} shards: all read a few times after, s"] = [reading]
            results[f"{MANY} shards: Kinesis calls/s"] = [(kinesis.calls - before[0]).total() / seconds]
            results[f"{MANY} shards: DynamoDB calls/s"] = [(dynamodb.calls - before[1]).total() / seconds]
            results[f"{MANY} shards: CPU, cores"] = [(cpu_seconds(pid) - cpu) / seconds]
            results[f"{MANY} shards: threads"] = [status(pid, "Threads")]
            results[f"{MANY} shards: resident MB"] = [status(pid, "VmRSS") * 1024 / 1e6]
            results[f"{MANY} shards: ListShards calls"] = [kinesis.calls["ListShards"]]
        return status(pid, "VmRSS") * 1024 / 1000
    finally:
        starter.stop_all()
