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

    def __init__(self, name, command, environment, output, log, by_signal):
        self.name = name
        self.output = output
        self.log = log
        self.by_signal = by_signal
        self.log_file = log.open("wb")
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log_file,
        )

    def deliveries(self):
        return numbered.read(self.output)

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Failed(f"{self.name} ended by itself with {code}; its log is {self.log}")

    def stop(self):
        """Stops it gracefully; returns what it printed at its end."""
        if self.by_signal and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            printed, _ = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not stop in {STOP_SECONDS} s; its log is {self.log}") from None
        finally:
            self.log_file.close()
        if self.process.returncode != 0:
            raise Failed(f"{self.name} ended with {self.process.returncode}; its log is {self.log}")
        return printed.decode()

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
        self.shardmill = shardmill
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

    def kcl_rs(self, stream, application, output, retrieval="POLLING", records=10_000):
        command = [sys.executable, HERE / "kcl_rs_consumer.py", stream, application, output, retrieval, str(records)]
        environment = {
            "AWS_ENDPOINT_URL_KINESIS": self.kinesis,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb,
            "RUST_LOG": "kcl=info,warn",
        }
        return self._start(f"kcl-rs-{len(self.started)}", command, environment, output, by_signal=False)

    def shardmill_job(self, stream, table, output, pause_ms=0, **kcl):
        """Shardmill's ``echo`` task over the lease table of another application."""
        number = len(self.started)
        properties = self.work / f"shardmill-{number}.properties"
        settings = {
            "job.name": "compat",
            "task.class": "echo",
            "task.inputs": f"kinesis.{stream}",
            "task.commit.ms": "500",
            "task.config.output": "out.echo",
            "task.config.pause.ms": pause_ms,
            "systems.out.samza.factory": "file",
            "systems.out.file.path": output,
            "systems.kinesis.samza.factory": "org.apache.samza.system.kinesis.KinesisSystemFactory",
            "systems.kinesis.aws.region": "us-east-1",
            f"systems.kinesis.streams.{stream}.aws.accessKey": "local",
            f"sensitive.systems.kinesis.streams.{stream}.aws.secretKey": "local",
            "systems.kinesis.aws.kcl.KinesisEndpoint": self.kinesis,
            "systems.kinesis.aws.kcl.DynamoDBEndpoint": self.dynamodb,
            "systems.kinesis.aws.kcl.TableName": table,
            "systems.kinesis.aws.kcl.InitialPositionInStream": "TRIM_HORIZON",
            "systems.kinesis.aws.kcl.FailoverTimeMillis": "2000",
            "systems.kinesis.aws.kcl.ParentShardPollIntervalMillis": "500",
            **{f"systems.kinesis.aws.kcl.{key}": value for key, value in kcl.items()},
        }
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        command = [self.shardmill, "run", "--config-path", properties, "--tasks", self.work / "tasks", "--json"]
        return self._start(f"shardmill-{number}", command, {}, output, by_signal=True)

    def stop_all(self):
        """Ends what still runs; for the way out after a failure."""
        for consumer in self.started:
            if consumer.process.poll() is None:
                consumer.kill()

    def _start(self, name, command, environment, output, by_signal):
        log = self.work / f"{output.stem}-{name}.log"
        consumer = Consumer(name, command, environment, output, log, by_signal)
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
