"""A kcl-rs application that writes down what it is handed and checkpoints each batch. Ends with its standard input."""

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kcl_rs import RecordProcessorBase, Scheduler


class MetricsSink(BaseHTTPRequestHandler):
    """Says yes to PutMetricData: kcl-rs sends CloudWatch metrics and cannot be told not to."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("smithy-protocol", "rpc-v2-cbor")
        self.send_header("Content-Type", "application/cbor")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"\xa0")

    def log_message(self, *_):
        pass


def processor(output, lock, counts):
    class Processor(RecordProcessorBase):
        def initialize(self, initialization):
            self.shard = initialization.shard_id

        def process_records(self, batch):
            if counts:
                lines = f"{len(batch.records)}\n"
            else:
                lines = "".join(
                    f"{self.shard}\t{record.sequence_number}\t{record.partition_key}\t{bytes(record.data).decode()}\n"
                    for record in batch.records
                )
            with lock:
                output.write(lines)
                output.flush()
            batch.checkpointer.checkpoint()

        def lease_lost(self, _):
            pass

        def shard_ended(self, ended):
            ended.checkpointer.checkpoint()

        def shutdown_requested(self, requested):
            requested.checkpointer.checkpoint()

    return Processor


def main():
    """Options are ``name=value``; see ``consumers.py``. ``waits=default`` leaves kcl-rs's own waits, ``count=``
    writes down how many records a batch has instead of them."""
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    retrieval = options.get("retrieval", "POLLING")
    polling = {"max_records": int(options.get("records", 10_000))} if retrieval == "POLLING" else {}
    waits = {}
    if options.get("waits") != "default":
        waits["shard_sync_interval_millis"] = 1000
    if retrieval == "POLLING" and ("idle" in options or options.get("waits") != "default"):
        polling["idle_time_between_reads_millis"] = int(options.get("idle", 250))
    sink = ThreadingHTTPServer(("127.0.0.1", 0), MetricsSink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    os.environ["AWS_ENDPOINT_URL_CLOUDWATCH"] = f"http://127.0.0.1:{sink.server_port}"
    with open(options["output"], "a", encoding="utf-8") as output:
        scheduler = Scheduler(
            stream_name=options["stream"],
            application_name=options["application"],
            worker_identifier=options["worker"],
            record_processor_factory=processor(output, threading.Lock(), "count" in options),
            region="us-east-1",
            access_key_id="local",
            secret_access_key="local",
            initial_position="TRIM_HORIZON",
            retrieval_mode=retrieval,
            **waits,
            **polling,
        )
        scheduler.start()
        sys.stdin.read()
        scheduler.shutdown()


main()
