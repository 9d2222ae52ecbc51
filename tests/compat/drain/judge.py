"""Judges consumers of a local backend: each drains numbered records, and nothing may be missing or out of order.

usage: judge.py --kinesis URL --dynamodb URL --work DIR --shardmill PATH --java DIR CASE
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import boto3

import consumers
import fleet
import numbered
from consumers import wait

SHARDS = 4
COLD_START_SECONDS = 180
DRAIN_SECONDS = 120
CBOR = "application/x-amz-cbor-1.1"


class Account:
    """The backend, a stream on it and the consumers of a case."""

    def __init__(self, arguments):
        def client(service, endpoint):
            return boto3.client(
                service,
                endpoint_url=endpoint,
                region_name="us-east-1",
                aws_access_key_id="local",
                aws_secret_access_key="local",
            )

        self.kinesis = client("kinesis", arguments.kinesis)
        self.dynamodb = client("dynamodb", arguments.dynamodb)
        self.case = arguments.case
        self.work = arguments.work
        self.stream = self.application = f"compat-{arguments.case}"
        self.start = consumers.Starter(
            arguments.kinesis, arguments.dynamodb, arguments.work, arguments.shardmill, arguments.java
        )
        self.kinesis.create_stream(StreamName=self.stream, ShardCount=SHARDS)
        numbered.active(self.kinesis, self.stream)
        self.producer = numbered.Producer(self.kinesis, self.stream)

    def output(self, name):
        """A file for a consumer's records; one of an earlier run is removed."""
        path = self.work / f"{self.case}-{name}.records"
        path.unlink(missing_ok=True)
        return path

    def leases(self):
        """The lease rows by shard; rows of other kinds, as KCL 3 keeps them in the same table, are left out."""
        rows = self.dynamodb.scan(TableName=self.application)["Items"]
        return {
            row["leaseKey"]["S"]: row
            for row in rows
            if row.get("entityType", {"S": "LEASE"})["S"] == "LEASE" and "checkpoint" in row
        }

    def unfinished(self):
        """Closed shards whose lease is not at its end: finished ones are at SHARD_END, or gone after a clean-up."""
        leases = self.leases()
        return [s for s in self.closed() if s in leases and leases[s]["checkpoint"]["S"] != "SHARD_END"]

    def closed(self):
        shards = self.kinesis.list_shards(StreamName=self.stream)["Shards"]
        return [shard["ShardId"] for shard in shards if "EndingSequenceNumber" in shard["SequenceNumberRange"]]


def say(text):
    print(f"      {text}", flush=True)


def drain(account, start, resharded_before=False):
    """One consumer drains a stream that is split and merged while it runs, or was before it started."""
    producer, stream = account.producer, account.stream
    producer.put(1200)
    if resharded_before:
        reshard(account)
    began = time.monotonic()
    consumer = start(stream, account.application, account.output("all"))
    wait("the first record", COLD_START_SECONDS, lambda: consumer.deliveries(), consumer)
    say(f"first record after {time.monotonic() - began:.1f} s")
    if not resharded_before:
        reshard(account)
    wait("every record", DRAIN_SECONDS, lambda: len(set(consumer.deliveries())) >= len(producer.written), consumer)
    say(f"all {len(producer.written)} records after {time.monotonic() - began:.1f} s")
    wait("closed shards at SHARD_END", DRAIN_SECONDS, lambda: not account.unfinished(), consumer)
    printed = consumer.stop()
    repeats = numbered.judge(consumer.deliveries(), producer.written, repeats_allowed=True)
    say(f"order per shard and key holds over {len(shards_of(consumer))} shards; {repeats} repeats")
    return printed


def reshard(account):
    """A split and a merge with records before, between and after."""
    account.producer.put(400)
    parent = numbered.split_first(account.kinesis, account.stream)
    account.producer.put(400)
    parents = numbered.merge_last(account.kinesis, account.stream)
    account.producer.put(400)
    say(f"split {parent}, merged {' and '.join(parents)}")


def shards_of(consumer):
    return {delivery.shard for delivery in consumer.deliveries()}


def require_cbor(printed):
    """Every call of a Java client to Kinesis went in CBOR; only SubscribeToShard is JSON there, and an event stream."""
    calls = [line.split() for line in printed.splitlines()]
    cbor = sum(int(times) for _, asked, answered, times in calls if (asked, answered) == (CBOR, CBOR))
    other = [call for call in calls if (call[1], call[2]) != (CBOR, CBOR) and call[0] != "SubscribeToShard"]
    if other or not cbor:
        raise numbered.Broken(f"calls that were not CBOR: {other}, CBOR calls: {cbor}")
    subscriptions = sum(int(call[3]) for call in calls if call[0] == "SubscribeToShard")
    say(f"wire: {cbor} calls in CBOR, {subscriptions} subscriptions")


def kcl3(account, resharded_before=False, **options):
    def start(stream, application, output):
        return account.start.kcl3(stream, application, output, **options)

    require_cbor(drain(account, start, resharded_before))


def two_workers(account, start):
    """A second worker joins, the first stops, the second does all the rest; leases move by the consumer's own rules."""
    producer, stream, application = account.producer, account.stream, account.application

    def trickle():
        producer.put(numbered.KEYS)
        return second.deliveries()

    producer.put(400)
    first = start(stream, application, account.output("first"))
    wait("the first worker's first record", COLD_START_SECONDS, lambda: first.deliveries(), first)
    second = start(stream, application, account.output("second"))
    began = time.monotonic()
    wait("the second worker's first record", COLD_START_SECONDS, trickle, first, second)
    say(f"second worker: first record after {time.monotonic() - began:.1f} s")
    first.stop()
    producer.put(400)
    taken = set(first.deliveries())
    wait("every record", DRAIN_SECONDS, lambda: len(taken.union(second.deliveries())) >= len(producer.written), second)
    second.stop()
    judge_both(account, first, second)


def judge_both(account, first, second):
    """Nothing is missing from what two consumers were handed, and each was handed its part in order."""
    one, other, written = first.deliveries(), second.deliveries(), account.producer.written
    numbered.complete(one + other, written)
    numbered.in_order(one)
    numbered.in_order(other)
    repeats = len(one) + len(other) - len(written)
    say(f"{len(written)} records: {len(one)} by {first.name}, {len(other)} by {second.name}, {repeats} repeats")


def take_over(account, other, repeats_allowed=False, **kcl):
    """Another consumer, shardmill, the other, shardmill and the other share one lease table, one after the other.

    Each goes on at the checkpoints of the one before: after graceful stops every record comes exactly once. Between
    them the stream is split and merged. ``kcl`` are settings of shardmill's.
    """
    producer, stream, application = account.producer, account.stream, account.application
    deliveries = []

    def finish(consumer):
        consumer.stop()
        got = consumer.deliveries()
        # On a machine that is too busy a consumer loses a lease, and reads again itself: that is no matter of two.
        own = dict.fromkeys(got)
        deliveries.extend(own)
        repeats = f", {len(got) - len(own)} of them again" if len(got) > len(own) else ""
        say(f"{consumer.name}: {len(got)} records{repeats}, {len(set(deliveries))} of {len(producer.written)} in all")

    def part_of(consumer, count):
        began = time.monotonic()
        wait("the first record", COLD_START_SECONDS, lambda: consumer.deliveries(), consumer)
        say(f"{consumer.name}: first record after {time.monotonic() - began:.1f} s")
        before = set(deliveries)
        wait(f"{count} new records", DRAIN_SECONDS, lambda: len(set(consumer.deliveries()) - before) >= count, consumer)

    def rest_of(consumer):
        part_of(consumer, len(producer.written) - len(set(deliveries)))
        wait("closed shards at SHARD_END", DRAIN_SECONDS, lambda: not account.unfinished(), consumer)

    producer.put(1600)
    first = other(stream, application, account.output("1-other"))
    part_of(first, 600)
    finish(first)

    producer.put(700)
    numbered.split_first(account.kinesis, stream)
    producer.put(700)
    second = account.start.shardmill_job(stream, application, account.output("2-shardmill"), **kcl)
    rest_of(second)
    finish(second)

    numbered.merge_last(account.kinesis, stream)
    producer.put(1200)
    third = other(stream, application, account.output("3-other"))
    rest_of(third)
    finish(third)

    producer.put(1200)
    fourth = account.start.shardmill_job(stream, application, account.output("4-shardmill"), pause_ms=10, **kcl)
    part_of(fourth, 400)
    finish(fourth)

    producer.put(400)
    fifth = other(stream, application, account.output("5-other"))
    rest_of(fifth)
    finish(fifth)
    repeats = numbered.judge(deliveries, producer.written, repeats_allowed)
    say(f"{len(producer.written)} records in order per shard and key through five consumers, {repeats} repeats")


def together(account, other, kill_other=False):
    """Another consumer joins shardmill, both work, and one of them is killed: the survivor does all the rest."""
    producer, stream, application = account.producer, account.stream, account.application
    producer.put(800)
    ours = account.start.shardmill_job(stream, application, account.output("shardmill"))
    wait("shardmill's first record", COLD_START_SECONDS, lambda: ours.deliveries(), ours)
    theirs = other(stream, application, account.output("other"))

    def trickle_until(what, condition, *consumers):
        def step():
            producer.put(numbered.KEYS)
            return condition()

        wait(what, COLD_START_SECONDS, step, *consumers)

    def owners():
        return Counter(row.get("leaseOwner", {}).get("S", "nobody") for row in account.leases().values())

    trickle_until("both hold leases and work", lambda: theirs.deliveries() and len(owners()) > 1, ours, theirs)
    say(f"leases: {dict(owners())}")
    numbered.split_first(account.kinesis, stream)
    trickle_until("the split shard's end", lambda: not account.unfinished(), ours, theirs)
    victim, survivor = (theirs, ours) if kill_other else (ours, theirs)
    victim.kill()
    taken = set(victim.deliveries())
    say(f"{victim.name} killed after {len(taken)} records")
    producer.put(800)
    began = time.monotonic()
    everything = len(producer.written)
    wait("every record", DRAIN_SECONDS, lambda: len(taken.union(survivor.deliveries())) >= everything, survivor)
    say(f"all records {time.monotonic() - began:.1f} s after that")
    survivor.stop()
    judge_both(account, ours, theirs)


def mixed_fleet(account, kind, other, **kcl):
    """Shardmill and another consumer in one fleet, under a random schedule. ``kcl`` are settings of shardmill's."""
    stream, application = account.stream, account.application

    def ours(output, worker):
        return account.start.shardmill_job(stream, application, output, WorkerId=worker, **kcl)

    def theirs(output, worker):
        return other(stream, application, output, worker=worker)

    fleet.run(account, {"shardmill": ours, kind: theirs}, say)


CASES = {
    # For other emulators.
    "shardmill": lambda account: drain(
        account, lambda *arguments: account.start.shardmill_job(*arguments, wire="json")
    ),
    "kcl3-polling": lambda account: kcl3(account),
    "kcl3-fanout": lambda account: kcl3(account, retrieval="FANOUT"),
    "kcl3-polling-2x": lambda account: kcl3(account, version="COMPATIBLE_WITH_2X"),
    "kcl3-fanout-2x": lambda account: kcl3(account, retrieval="FANOUT", version="COMPATIBLE_WITH_2X"),
    "kcl3-resharded": lambda account: kcl3(account, resharded_before=True),
    "kcl3-two-workers": lambda account: two_workers(account, account.start.kcl3),
    "kcl1-polling": lambda account: drain(account, account.start.kcl1),
    "kcl-rs-polling": lambda account: drain(account, account.start.kcl_rs),
    "kcl-rs-fanout": lambda account: drain(
        account, lambda *arguments: account.start.kcl_rs(*arguments, retrieval="FANOUT")
    ),
    "kcl-rs-resharded": lambda account: drain(account, account.start.kcl_rs, resharded_before=True),
    "takeover-kcl3": lambda account: take_over(
        account, lambda *arguments: account.start.kcl3(*arguments, version="COMPATIBLE_WITH_2X_PHASE1", records=50)
    ),
    "takeover-kcl3-3x": lambda account: take_over(
        account, lambda *arguments: account.start.kcl3(*arguments, records=50)
    ),
    # Both as one registered consumer: a subscription of the one before may still be there.
    "takeover-kcl3-fanout": lambda account: take_over(
        account,
        lambda *arguments: account.start.kcl3(*arguments, version="COMPATIBLE_WITH_2X_PHASE1", retrieval="FANOUT"),
        RetrievalMode="FANOUT",
        ConsumerName=account.application,
    ),
    "together-kcl3": lambda account: together(
        account, lambda *arguments: account.start.kcl3(*arguments, version="COMPATIBLE_WITH_2X_PHASE1")
    ),
    "together-kcl3-killed": lambda account: together(
        account,
        lambda *arguments: account.start.kcl3(*arguments, version="COMPATIBLE_WITH_2X_PHASE1"),
        kill_other=True,
    ),
    "fleet-kcl3": lambda account: mixed_fleet(
        account,
        "kcl3",
        lambda *arguments, **options: account.start.kcl3(*arguments, version="COMPATIBLE_WITH_2X_PHASE1", **options),
    ),
    "fleet-kcl1": lambda account: mixed_fleet(account, "kcl1", account.start.kcl1),
    # Its failover time cannot be set.
    "fleet-kcl-rs": lambda account: mixed_fleet(account, "kcl-rs", account.start.kcl_rs, FailoverTimeMillis="10000"),
    "takeover-kcl1": lambda account: take_over(account, lambda *arguments: account.start.kcl1(*arguments, records=50)),
    # Its stop drops the leases first and delivers what it has fetched all the same, without a checkpoint.
    "takeover-kcl-rs": lambda account: take_over(
        account, lambda *arguments: account.start.kcl_rs(*arguments, records=50), repeats_allowed=True
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("kinesis", "dynamodb"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("work", "shardmill", "java"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("case", choices=CASES)
    arguments = parser.parse_args()
    account = Account(arguments)
    try:
        CASES[arguments.case](account)
    except (consumers.Failed, numbered.Broken) as error:
        print(f"  FAIL  {arguments.case}: {error}", flush=True)
        return 1
    finally:
        account.start.stop_all()
    print(f"  ok    {arguments.case}", flush=True)
    return 0


sys.exit(main())
