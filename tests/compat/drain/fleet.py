"""A mixed fleet under a random schedule: consumers of two kinds come, are killed and stop gracefully on one lease
table, while records flow and the stream is split and merged.

The rule at the end is that of the KCL's own RecordValidator, and a little more: nothing is missing, each consumer was
handed what it got in the order of shard and key, and whoever takes a shard over begins after its checkpoint.
"""

import os
import random
import threading
import time
from collections import Counter

import numbered
from consumers import Failed, wait

SECONDS = 75
AT_ONCE_MAX = 4
SHARDS_MIN, SHARDS_MAX = 3, 7
LOOK_SECONDS = 0.25
DRAIN_SECONDS = 180
# The Java consumers take a minute and more to begin.
BEGIN_SECONDS = 240


class Feeder(threading.Thread):
    """Puts records all the time."""

    def __init__(self, producer):
        super().__init__(daemon=True)
        self.producer = producer
        self.over = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.over.wait(0.2):
                self.producer.put(numbered.KEYS)
        except Exception as error:
            self.error = error

    def finish(self):
        self.over.set()
        self.join()
        if self.error:
            raise self.error


class Watcher(threading.Thread):
    """Looks at the leases all the time: who took which shard, and from which checkpoint on at the earliest."""

    def __init__(self, account):
        super().__init__(daemon=True)
        self.account = account
        self.over = threading.Event()
        self.consumers = {}
        self.error = None
        self._rows = {}
        self._seen = {}
        # By consumer and shard: how much it had been handed before, and the checkpoint then, after which it begins.
        self.first_holdings = {}

    def run(self):
        try:
            while not self.over.wait(LOOK_SECONDS):
                self.look()
        except Exception as error:
            self.error = error

    def look(self):
        try:
            rows = self.account.leases()
        except Exception as error:
            if numbered.is_no_table(error):
                return
            raise
        for shard, row in rows.items():
            owner = row.get("leaseOwner", {}).get("S")
            before = self._rows.get(shard)
            if owner in self.consumers and before is not None and before["owner"] != owner:
                holding = (self._seen.get(owner, 0), before["checkpoint"])
                self.first_holdings.setdefault((owner, shard), holding)
            self._rows[shard] = {"owner": owner, "checkpoint": row["checkpoint"]["S"]}
        # Of what is handed out from here on, the next look tells with which checkpoints it may begin.
        self._seen = {name: len(tail.more_of()) for name, tail in self.consumers.items()}

    def finish(self):
        self.over.set()
        self.join()
        if self.error:
            raise self.error


class Kept:
    """A consumer's file as far as it was read."""

    def __init__(self, path):
        self.tail = numbered.Tail(path)
        self.deliveries = []

    def more_of(self):
        self.deliveries += self.tail.more()
        return self.deliveries


def run(account, kinds, say):
    """``kinds``: two ways to start a consumer, each ``start(output, worker)``."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    say(f"SEED={seed} {SECONDS} s of {' and '.join(kinds)}")
    fleet = Fleet(account, kinds, random.Random(seed), say)
    feeder, watcher = Feeder(account.producer), fleet.watcher
    account.producer.put(400)
    feeder.start()
    watcher.start()
    try:
        fleet.live_for(SECONDS)
    finally:
        feeder.finish()
    fleet.drain()
    watcher.finish()
    fleet.judge()


class Fleet:
    def __init__(self, account, kinds, dice, say):
        self.account = account
        self.kinds = kinds
        self.dice = dice
        self.say = say
        self.watcher = Watcher(account)
        self.alive = []
        self.all = []
        self.stops = []
        self.did = Counter()

    def live_for(self, seconds):
        """One of each kind, until each has been handed something; then whatever comes."""
        for kind in self.kinds:
            self.start(kind)
        for consumer in list(self.alive):
            kept = self.watcher.consumers[consumer.name]
            wait(f"a record for {consumer.name}", BEGIN_SECONDS, lambda kept=kept: kept.deliveries, *self.alive)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.dice.uniform(2, 6))
            # All dice are thrown whatever happens, so that one seed is one schedule.
            action = self.dice.choice(["start", "start", "kill", "stop", "reshard"])
            kind = self.dice.choice([*self.kinds])
            victim, place = self.dice.randrange(AT_ONCE_MAX), self.dice.random()
            for consumer in self.alive:
                consumer.check_alive()
            if action == "reshard":
                self.reshard(place)
            elif action == "start" or len(self.alive) < 2:
                if len(self.alive) < AT_ONCE_MAX:
                    self.start(kind)
            else:
                self.end(self.alive.pop(victim % len(self.alive)), action)

    def start(self, kind):
        name = f"{kind}-{len(self.all)}"
        consumer = self.kinds[kind](self.account.output(name), name)
        self.watcher.consumers[name] = Kept(consumer.output)
        self.alive.append(consumer)
        self.all.append(consumer)
        self.did["starts"] += 1

    def end(self, consumer, how):
        self.did["kills" if how == "kill" else "stops"] += 1
        if how == "kill":
            return consumer.kill()
        # Some take their time.
        thread = threading.Thread(target=self._stop, args=[consumer], daemon=True)
        thread.start()
        return self.stops.append(thread)

    def _stop(self, consumer):
        try:
            consumer.stop()
        except Failed as failure:
            # Of the others it is known; see the README.
            self.say(str(failure))
            self.did["bad stops of " + consumer.name.split("-")[0]] += 1

    def reshard(self, place):
        kinesis, stream = self.account.kinesis, self.account.stream
        shards = numbered.open_shards(kinesis, stream)
        merges = len(shards) > SHARDS_MAX or (len(shards) > SHARDS_MIN and place < 0.5)
        index = int(place * 1000) % (len(shards) - 1)
        if merges:
            numbered.merge(kinesis, stream, shards[index], shards[index + 1])
        else:
            numbered.split(kinesis, stream, shards[index])
        self.did["merges" if merges else "splits"] += 1

    def drain(self):
        """Whoever is left does the rest."""
        if not self.alive:
            self.start(next(iter(self.kinds)))
        everything = set(self.account.producer.written)

        def missing():
            handed = set()
            for kept in self.watcher.consumers.values():
                handed.update(kept.deliveries)
            return everything - handed

        wait("every record", DRAIN_SECONDS, lambda: not missing(), *self.alive)
        wait("closed shards at SHARD_END", DRAIN_SECONDS, lambda: not self.account.unfinished(), *self.alive)
        for consumer in self.alive:
            self.end(consumer, "stop")
        for thread in self.stops:
            thread.join()

    def judge(self):
        if self.did["bad stops of shardmill"]:
            raise Failed("shardmill did not stop as asked")
        written, handed = self.account.producer.written, []
        for consumer in self.all:
            deliveries = consumer.deliveries()
            handed += deliveries
            try:
                numbered.in_order(deliveries)
            except numbered.Broken as broken:
                raise numbered.Broken(f"{consumer.name}: {broken}") from None
        numbered.complete(handed, written)
        checked = sum(self._begins_after_checkpoint(consumer) for consumer in self.all)
        by_kind = Counter()
        for consumer in self.all:
            by_kind[consumer.name.rsplit("-", 1)[0]] += len(consumer.deliveries())
        idle = [kind for kind in self.kinds if not by_kind[kind]]
        if idle:
            raise Failed(f"{' and '.join(idle)} got no record: nothing is shown of sharing")
        what = ", ".join(f"{count} {name}" for name, count in sorted(self.did.items()))
        self.say(f"{what}; {checked} take-overs began after the checkpoint")
        self.say(f"{len(written)} records: {dict(by_kind)}, {len(handed) - len(written)} repeats, none lost")

    def _begins_after_checkpoint(self, consumer):
        """Of each shard that the consumer came to hold, it was handed nothing that was checkpointed before."""
        deliveries, checked = consumer.deliveries(), 0
        for (owner, shard), (index, checkpoint) in self.watcher.first_holdings.items():
            if owner != consumer.name or not checkpoint.isdigit():
                continue
            checked += 1
            old = [d for d in deliveries[index:] if d.shard == shard and d.sequence <= int(checkpoint)]
            if old:
                raise numbered.Broken(f"{owner} was handed {old[0]} again, after the checkpoint {checkpoint}")
        return checked
