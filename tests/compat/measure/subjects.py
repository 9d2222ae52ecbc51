"""Who is measured, and the backend that all share."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import boto3
import consumers
import numbered

COMPAT = Path(__file__).resolve().parent.parent


class Backend:
    """``shardmill local`` as a process of its own."""

    def __init__(self, binary, work, *options):
        command = [binary, "local", "--kinesis-port", "0", "--dynamodb-port", "0", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(work / "local.log").open("wb"))
        endpoints = json.loads(self.process.stdout.readline())
        self.kinesis, self.dynamodb = endpoints["kinesis"], endpoints["dynamodb"]

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=getattr(self, service),
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def stream(self, name, shards):
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        numbered.active(kinesis, name)

    def stop(self):
        self.process.terminate()
        self.process.wait()


@dataclass(frozen=True)
class Subject:
    """A consumer with the settings that its users get when they set none, unless ``options`` say else."""

    name: str
    version: str
    kind: str
    options: dict

    def start(self, starter, stream, application, output, worker, waits="default", **options):
        if self.kind == "shardmill":
            kcl = {"WorkerId": worker}
            if "idle" in options:
                kcl["IdleTimeBetweenReadsInMillis"] = options["idle"]
            # The others checkpoint each batch.
            job = {"systems.out.samza.factory": "console", "task.commit.ms": 1000}
            return starter.shardmill(stream, application, output, job, prints_records=True, **kcl)
        start = getattr(starter, self.kind)
        return start(stream, application, output, worker=worker, waits=waits, **self.options, **options)


def subjects(binary):
    """All of them, by name."""
    pom = (COMPAT / "java" / "pom.xml").read_text(encoding="utf-8")
    kcl3, kcl1 = (re.search(rf"<{name}.version>(.+?)</", pom).group(1) for name in ("kcl3", "kcl1"))
    pins = (COMPAT / "requirements.txt").read_text(encoding="utf-8")
    kcl_rs = re.search(r"kcl-rs==(\S+)", pins).group(1)
    own = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    every = [
        Subject("shardmill", own, "shardmill", {}),
        Subject("kcl3-2x", f"KCL {kcl3}, 2.x-compatible", "kcl3", {"version": "COMPATIBLE_WITH_2X_PHASE1"}),
        Subject("kcl3", f"KCL {kcl3}", "kcl3", {"version": "3X"}),
        Subject("kcl1", f"KCL {kcl1}", "kcl1", {}),
        Subject("kcl-rs", f"kcl-rs {kcl_rs}", "kcl_rs", {}),
    ]
    return {subject.name: subject for subject in every}


def starter(backend, work, arguments, kinesis=None, dynamodb=None):
    return consumers.Starter(
        kinesis or backend.kinesis, dynamodb or backend.dynamodb, work, arguments.shardmill, arguments.java
    )


def leases(dynamodb, table):
    """Owners by shard of what is not finished; nothing while there is no table."""
    try:
        pages = dynamodb.get_paginator("scan").paginate(TableName=table)
        rows = [row for page in pages for row in page["Items"] if "checkpoint" in row and "leaseKey" in row]
    except Exception as error:
        if numbered.is_no_table(error):
            return {}
        raise
    return {row["leaseKey"]["S"]: row.get("leaseOwner", {}).get("S") for row in rows}
