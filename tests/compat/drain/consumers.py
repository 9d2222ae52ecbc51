"""The consumers that can be judged, each a process of its own with one shape: start, look at its file, stop.

A consumer appends what it is handed to a file before it checkpoints it. It is told to stop gracefully, by the end of
its standard input or by SIGTERM, and is killed only when it does not obey.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numbered

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 90


class Failed(Exception):
    """A consumer that did not do as told."""


class Consumer:
    """A running consumer process."""

    def __init__(self, name, command, environment, output, log, by_signal, prints_records=False):
        self.name = name
        self.output = output
        self.log = log
        self.by_signal = by_signal
        self.log_file = log.open("wb")
        printed = output.open("wb") if prints_records else None
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=printed or subprocess.PIPE,
            stderr=self.log_file,
        )
        if printed:
            printed.close()

    def deliveries(self):
        return numbered.read(self.output)

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Failed(f"{self.name} ended by itself with {code}; its log is {self.log}")

    def ask_to_stop(self):
        """Tells it to stop gracefully, and does not wait for it."""
        if self.by_signal and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.stdin.close()

    def stop(self):
        """Stops it gracefully; returns what it printed at its end."""
        if not self.process.stdin.closed:
            self.ask_to_stop()
        self.process.stdin = None
        try:
            printed, _ = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not stop in {STOP_SECONDS} s; its log is {self.log}") from None
        finally:
            self.log_file.close()
        if self.process.returncode != 0:
            raise Failed(f"{self.name} ended with {self.process.returncode}; its log is {self.log}")
        return (printed or b"").decode()

    def kill(self):
        """Ends it at once, as a crash does."""
        self.process.kill()
        self.process.wait()


class Starter:
    """Starts consumers against one backend; everything that they write is kept in one directory."""

    def __init__(self, kinesis, dynamodb, work, shardmill, java_build):
        self.kinesis = kinesis
        self.dynamodb = dynamodb
        self.work = work
        self.binary = shardmill
        self.java_build = java_build
        self.started = []

    def java(self, module, main, stream, application, output, **options):
        """``kcl3`` or ``kcl1``: a Java KCL application."""
        classpath = (self.java_build / module / "classpath").read_text(encoding="utf-8")
        worker = options.pop("worker", f"{main}-{len(self.started)}")
        settings = {
            "kinesis": self.kinesis,
            "dynamodb": self.dynamodb,
            "stream": stream,
            "application": application,
            "output": output,
            "worker": worker,
            **options,
        }
        command = [
            "java",
            "-Xmx512m",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            f"{self.java_build / module / 'classes'}:{classpath}",
            f"compat.{main}",
            *(f"{name}={value}" for name, value in settings.items()),
        ]
        return self._start(worker, command, {}, output, by_signal=False)

    def kcl3(self, stream, application, output, retrieval="POLLING", version="3X", **options):
        return self.java(
            "sdk2", "Kcl3Consumer", stream, application, output, retrieval=retrieval, version=version, **options
        )

    def kcl1(self, stream, application, output, **options):
        return self.java("kcl1", "Kcl1Consumer", stream, application, output, **options)

    def kcl_rs(self, stream, application, output, **options):
        worker = options.pop("worker", f"kcl-rs-{len(self.started)}")
        settings = {"stream": stream, "application": application, "output": output, "worker": worker, **options}
        command = [sys.executable, HERE / "kcl_rs_consumer.py"]
        command += [f"{name}={value}" for name, value in settings.items()]
        environment = {
            "AWS_ENDPOINT_URL_KINESIS": self.kinesis,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb,
            "RUST_LOG": "kcl=info,warn",
        }
        return self._start(worker, command, environment, output, by_signal=False)

    def shardmill_job(self, stream, table, output, pause_ms=0, wire="cbor", **kcl):
        """Shardmill's ``echo`` task over the lease table of another application."""
        settings = {
            "task.commit.ms": "500",
            "task.config.pause.ms": pause_ms,
            "systems.kinesis.aws.wire.protocol": wire,
            "systems.out.samza.factory": "file",
            "systems.out.file.path": output,
        }
        waits = {"FailoverTimeMillis": "2000", "ParentShardPollIntervalMillis": "500"}
        return self.shardmill(stream, table, output, settings, **{**waits, **kcl})

    def shardmill(self, stream, table, output, job, prints_records=False, arguments=(), **kcl):
        """The same with the settings of a job, and those of a KCL; its defaults otherwise."""
        name = kcl.get("WorkerId", f"shardmill-{len(self.started)}")
        properties = self.work / f"{output.stem}-{name}.properties"
        settings = {
            "job.name": "compat",
            "task.class": "echo",
            "task.inputs": f"kinesis.{stream}",
            "task.config.output": "out.echo",
            "systems.kinesis.samza.factory": "org.apache.samza.system.kinesis.KinesisSystemFactory",
            "systems.kinesis.aws.region": "us-east-1",
            f"systems.kinesis.streams.{stream}.aws.accessKey": "local",
            f"sensitive.systems.kinesis.streams.{stream}.aws.secretKey": "local",
            "systems.kinesis.aws.kcl.KinesisEndpoint": self.kinesis,
            "systems.kinesis.aws.kcl.DynamoDBEndpoint": self.dynamodb,
            "systems.kinesis.aws.kcl.TableName": table,
            "systems.kinesis.aws.kcl.InitialPositionInStream": "TRIM_HORIZON",
            **job,
            **{f"systems.kinesis.aws.kcl.{key}": value for key, value in kcl.items()},
        }
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        command = [self.binary, "run", "--config-path", properties, "--tasks", self.work / "tasks", *arguments]
        if not prints_records:
            command.append("--json")
        return self._start(name, command, {}, output, by_signal=True, prints_records=prints_records)

    def stop_all(self):
        """Ends what still runs; for the way out after a failure."""
        for consumer in self.started:
            if consumer.process.poll() is None:
                consumer.kill()

    def _start(self, name, command, environment, output, by_signal, prints_records=False):
        log = self.work / f"{output.stem}-{name}.log"
        consumer = Consumer(name, command, environment, output, log, by_signal, prints_records)
        self.started.append(consumer)
        return consumer


def wait(what, seconds, condition, *consumers):
    """Waits for a condition while the consumers live."""
    deadline = time.monotonic() + seconds
    while not condition():
        for consumer in consumers:
            consumer.check_alive()
        if time.monotonic() > deadline:
            raise Failed(f"not in {seconds} s: {what}")
        time.sleep(0.2)
