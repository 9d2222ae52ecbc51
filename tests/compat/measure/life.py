"""The life of a fleet: cold start, growth to four workers, idle, a killed worker, a stopped one."""

import threading
import time
from collections import Counter

import numbered
import subjects
from counting import Counted

SHARDS = 8
COLD_SECONDS = 150
GROWTH_SECONDS = 160
TAKE_OVER_SECONDS = 120
# Twenty times the renewals' interval, so that it does not matter where the minute begins.
IDLE_SECONDS = 20 * 3.308
LOOK_SECONDS = 0.02
FEED_SECONDS = 0.2
RECENT_SECONDS = 4
# The protocol's, at its default failover time: 2 * (10 s + 25 ms).
LEASE_CYCLE_SECONDS = 20.05
ROUNDS = 3


class NotInTime(Exception):
    pass


class Life:
    """One subject's fleet on a stream of its own; everything measured is in ``results``."""

    def __init__(self, subject, backend, arguments, say):
        self.subject = subject
        self.say = say
        self.results = {}
        self.stream = f"life-{subject.name}"
        self.work = arguments.work
        self.kinesis, self.dynamodb = backend.client("kinesis"), backend.client("dynamodb")
        self.counted = {"kinesis": Counted(backend.kinesis), "dynamodb": Counted(backend.dynamodb)}
        endpoints = {service: counted.endpoint for service, counted in self.counted.items()}
        self.starter = subjects.starter(backend, arguments.work, arguments, **endpoints)
        backend.stream(self.stream, SHARDS)
        shards = numbered.open_shards(self.kinesis, self.stream)
        self.hash_keys = [shard["HashKeyRange"]["StartingHashKey"] for shard in shards]
        self.members = {}
        self.handed = {}
        self.started = 0
        self.over = threading.Event()
        self.feeding = threading.Event()

    def run(self):
        threads = [threading.Thread(target=target, daemon=True) for target in (self._watch, self._feed)]
        for thread in threads:
            thread.start()
        try:
            for step in (self._cold_start, self._idle_alone, self._grow, self._idle_fleet, self._kills, self._stops):
                try:
                    step()
                except NotInTime as late:
                    self.say(f"{self.subject.name}: {late}")
                    self.results.setdefault("not in time", []).append(str(late))
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
            self.starter.stop_all()
        return self.results

    def _cold_start(self):
        self._put()
        began = time.monotonic()
        first = self._start()
        self._until("a first record", COLD_SECONDS, lambda: self._last(first))
        self._note("cold start, s", min(self.handed[first].values()) - began)

    def _idle_alone(self):
        self._until("all leases", COLD_SECONDS, lambda: self._loads() == [SHARDS])
        self._idle("1 worker")

    def _grow(self):
        """From one worker to two to four, while records flow."""
        self.feeding.set()
        for workers in (2, 4):
            began = time.monotonic()
            while len(self.members) < workers:
                self._start()
            self._until(f"balance of {workers}", GROWTH_SECONDS, lambda: self._is_balanced(workers))  # noqa: B023
            seconds = time.monotonic() - began
            self._note(f"to balance of {workers} workers, s", seconds)
            self._note(f"to balance of {workers} workers, cycles", seconds / LEASE_CYCLE_SECONDS)

    def _idle_fleet(self):
        self.feeding.clear()
        self._idle("4 workers")

    def _kills(self):
        for _ in range(ROUNDS):
            self._take_over("kill -9", lambda consumer: consumer.kill())

    def _stops(self):
        for _ in range(ROUNDS):
            self._take_over("graceful stop", lambda consumer: consumer.ask_to_stop())

    def _take_over(self, how, end):
        """One worker goes; how long until its shards are read elsewhere. Then another one joins in its place."""
        self.feeding.set()
        self._until("shards that somebody reads", TAKE_OVER_SECONDS, lambda: self._victim())
        victim, shards = self._victim()
        consumer = self.members.pop(victim)
        began = time.monotonic()
        end(consumer)

        def taken():
            others = [self.handed[name] for name in self.members]
            times = [[at[shard] for at in others if at.get(shard, 0) > began] for shard in shards]
            return [min(found) for found in times if found]

        try:
            self._until(f"a take-over after a {how}", TAKE_OVER_SECONDS, lambda: len(taken()) == len(shards))
        finally:
            if taken():
                self._note(f"{how} -> first record, s", min(taken()) - began)
                self._note(f"{how} -> all its shards, s", max(taken()) - began)
            consumer.kill()
            if len(self.members) < 4:
                self._start()
        self._until("balance", GROWTH_SECONDS, lambda: self._is_balanced(4))

    def _victim(self):
        """A worker and the shards that only it was handed records of lately."""
        since = time.monotonic() - RECENT_SECONDS
        lately = {name: {s for s, at in self.handed[name].items() if at > since} for name in self.members}
        for name, shards in lately.items():
            own = shards.difference(*(other for who, other in lately.items() if who != name))
            if own:
                return name, own
        return None

    def _idle(self, what):
        time.sleep(5)
        before, began = self._calls(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        seconds = time.monotonic() - began
        used = {service: calls - before[service] for service, calls in self._calls().items()}
        per_hour = 3600 / seconds / SHARDS
        self._note(f"DynamoDB calls/h per lease, {what}", sum(used["dynamodb"].values()) * per_hour)
        self._note(f"GetRecords/s per shard, {what}", sum(used["kinesis"].values()) / seconds / SHARDS)
        by_operation = {name: round(count * per_hour) for name, count in used["dynamodb"].most_common()}
        self.results[f"DynamoDB calls/h per lease by operation, {what}"] = by_operation

    def _calls(self):
        return {service: Counter(counted.calls) for service, counted in self.counted.items()}

    def _start(self):
        self.started += 1
        name = f"{self.subject.name}-{self.started}"
        output = self.work / f"life-{name}.records"
        output.unlink(missing_ok=True)
        self.handed[name] = {}
        self.members[name] = self.subject.start(self.starter, self.stream, self.stream, output, name)
        return name

    def _loads(self):
        owners = subjects.leases(self.dynamodb, self.stream).values()
        return sorted(Counter(owner for owner in owners if owner).values())

    def _is_balanced(self, workers):
        loads = self._loads()
        return len(loads) == workers and sum(loads) == SHARDS and loads[-1] - loads[0] <= 1

    def _last(self, name):
        return max(self.handed[name].values(), default=None)

    def _until(self, what, seconds, holds):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise NotInTime(f"not in {seconds} s: {what}")
            time.sleep(0.02 if what.startswith("a ") else 0.2)

    def _note(self, what, value):
        self.results.setdefault(what, []).append(value)
        self.say(f"{self.subject.name}: {what} {value:.2f}")

    def _put(self):
        records = [{"Data": b"life", "PartitionKey": "k", "ExplicitHashKey": key} for key in self.hash_keys]
        self.kinesis.put_records(StreamName=self.stream, Records=records)

    def _feed(self):
        while not self.over.wait(FEED_SECONDS):
            if self.feeding.is_set():
                self._put()

    def _watch(self):
        """When each worker was last handed a record, by shard."""
        tails = {}
        while not self.over.wait(LOOK_SECONDS):
            for name, consumer in list(self.members.items()):
                tail = tails.setdefault(name, numbered.Tail(consumer.output))
                shards = {delivery.shard for delivery in tail.more()}
                if shards:
                    # A new one each time: others read it meanwhile.
                    self.handed[name] = self.handed[name] | dict.fromkeys(shards, time.monotonic())
