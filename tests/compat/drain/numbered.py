"""Numbered records and the promises about them: what a stream was given, what a consumer was handed.

A record's message is ``key number``; the numbers of a key count from 0. Knows nothing of who consumes.
"""

import json
from collections import Counter
from dataclasses import dataclass

import botocore.exceptions

PUT_MAX = 500
KEYS = 40


@dataclass(frozen=True)
class Delivery:
    """A record as a consumer was handed it."""

    shard: str
    sequence: int
    key: str
    message: str


class Broken(Exception):
    """A promise that was not kept."""


class Producer:
    """Writes numbered records and remembers where each went."""

    def __init__(self, kinesis, stream):
        self.kinesis = kinesis
        self.stream = stream
        self.written = []

    def put(self, count):
        start = len(self.written)
        pending = []
        for index in range(start, start + count):
            key = f"key-{index % KEYS}"
            pending.append((key, f"{key} {index // KEYS}"))
        self.written.extend([None] * count)
        for offset in range(0, count, PUT_MAX):
            self._put(start + offset, pending[offset : offset + PUT_MAX])

    def _put(self, start, records):
        """One record of a key at a time, so that a record that is refused cannot be overtaken by its successor."""
        for offset in range(0, len(records), KEYS):
            part = list(enumerate(records[offset : offset + KEYS], start + offset))
            while part:
                part = self._put_once(part)

    def _put_once(self, part):
        entries = [{"PartitionKey": key, "Data": message.encode()} for _, (key, message) in part]
        reply = self.kinesis.put_records(StreamName=self.stream, Records=entries)
        refused = []
        for (index, (key, message)), result in zip(part, reply["Records"], strict=True):
            if "ErrorCode" in result:
                if result["ErrorCode"] != "ProvisionedThroughputExceededException":
                    raise Broken(f"put refused: {result}")
                refused.append((index, (key, message)))
            else:
                self.written[index] = Delivery(result["ShardId"], int(result["SequenceNumber"]), key, message)
        return refused


def read(path):
    """The whole lines of a consumer's file: tab separated, or the JSON lines of shardmill's echo task."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [_delivery(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class Tail:
    """A consumer's file read on and on: what was added since the last look."""

    def __init__(self, path):
        self.path = path
        self.offset = 0

    def more(self):
        """The new whole lines as deliveries."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [_delivery(line) for line in whole.decode().splitlines()]


def _delivery(line):
    if line.startswith("{"):
        value = json.loads(line)
        shard, sequence, message = value["message"].split(" ", 2)
        return Delivery(shard, int(sequence), value["key"], message)
    shard, sequence, key, message = line.split("\t")
    return Delivery(shard, int(sequence), key, message)


def judge(deliveries, written, repeats_allowed):
    """Every record as it was written; per shard and per key in order; returns how many came again.

    A repeat must be a record that came before: it is judged by where it stands, not by order.
    """
    complete(deliveries, written)
    in_order(deliveries)
    repeats = len(deliveries) - len(set(deliveries))
    if repeats and not repeats_allowed:
        again = next(delivery for delivery, count in Counter(deliveries).items() if count > 1)
        raise Broken(f"{repeats} records came again, the first: {again}")
    return repeats


def complete(deliveries, written):
    """Every record as it was written, and nothing else."""
    came, expected = set(deliveries), set(written)
    missing = [delivery for delivery in written if delivery not in came]
    if missing:
        raise Broken(f"{len(missing)} of {len(written)} records missing, the first: {missing[0]}")
    strange = [delivery for delivery in deliveries if delivery not in expected]
    if strange:
        raise Broken(f"{len(strange)} records that were not written, the first: {strange[0]}")


def in_order(deliveries):
    """What one consumer was handed first stands in the order of its shard and of its key."""
    firsts = list(dict.fromkeys(deliveries))
    _in_order(firsts, lambda d: d.shard, lambda d: d.sequence, "shard")
    _in_order(firsts, lambda d: d.key, lambda d: int(d.message.split(" ")[1]), "key")


def _in_order(deliveries, group, number, what):
    last = {}
    for delivery in deliveries:
        before = last.get(group(delivery))
        if before is not None and number(delivery) <= number(before):
            raise Broken(f"out of order in its {what}: {delivery} came after {before}")
        last[group(delivery)] = delivery


def active(kinesis, stream):
    """Waits until a stream is ACTIVE."""
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def open_shards(kinesis, stream):
    """Open shards in the order of their hash ranges."""
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    still = [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
    return sorted(still, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def split_first(kinesis, stream):
    """Splits the first open shard in the middle."""
    return split(kinesis, stream, open_shards(kinesis, stream)[0])


def split(kinesis, stream, shard):
    """Splits an open shard in the middle."""
    start, end = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
    middle = str((start + end) // 2 + 1)
    kinesis.split_shard(StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=middle)
    active(kinesis, stream)
    return shard["ShardId"]


def merge_last(kinesis, stream):
    """Merges the last two open shards."""
    return merge(kinesis, stream, *open_shards(kinesis, stream)[-2:])


def merge(kinesis, stream, left, right):
    """Merges two neighbours."""
    kinesis.merge_shards(StreamName=stream, ShardToMerge=left["ShardId"], AdjacentShardToMerge=right["ShardId"])
    active(kinesis, stream)
    return [left["ShardId"], right["ShardId"]]


def is_no_table(error):
    """Whether DynamoDB says that there is no such table."""
    return isinstance(error, botocore.exceptions.ClientError) and (
        error.response["Error"]["Code"] == "ResourceNotFoundException"
    )
