"""Measures shardmill beside the consumers of today, in the same minutes and on the same local backend.

usage: measure.py --work DIR --shardmill PATH --java DIR [--subjects NAME,...] [--only life,catch-up,idle-shards]
"""

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

import consumers
import load
import subjects
from life import Life

PARTS = ("life", "catch-up", "idle-shards")


def say(text):
    print(f"   {text}", flush=True)


def lives(chosen, arguments, results):
    """All at once: they wait most of the time, and what else the machine does is the same for all."""
    backend = subjects.Backend(arguments.shardmill, arguments.work)
    try:
        fleets = {name: Life(subject, backend, arguments, say) for name, subject in chosen.items()}

        def live(name):
            try:
                fleets[name].run()
            finally:
                results[name].update(fleets[name].results)

        threads = [threading.Thread(target=live, args=[name]) for name in fleets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        backend.stop()


def catch_ups(chosen, arguments, results):
    """One after the other, on one backlog."""
    backend = subjects.Backend(arguments.shardmill, arguments.work, "--no-limits")
    try:
        load.fill(backend, "backlog")
        for name, subject in chosen.items():
            results[name].update(load.catch_up(subject, backend, "backlog", arguments))
            say(f"{name}: {results[name].get('catch-up, MB/s', 'not in time')}")
    finally:
        backend.stop()


def idle(chosen, arguments, results):
    """Each with a backend of its own: what another one left behind is not to be carried along."""
    for name, subject in chosen.items():
        backend = subjects.Backend(arguments.shardmill, arguments.work)
        try:
            results[name].update(load.idle_shards(subject, backend, arguments, say))
        except consumers.Failed as failure:
            results[name]["not in time"] = [str(failure)]
        finally:
            backend.stop()


def shown(value):
    if not isinstance(value, list):
        return "see the JSON"
    if not all(isinstance(one, int | float) for one in value):
        return "; ".join(map(str, value))
    if len(value) == 1:
        return number(value[0])
    return " / ".join(map(number, (min(value), statistics.median(value), max(value))))


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(chosen, results):
    """Markdown; several rounds as min / median / max."""
    rows = list(dict.fromkeys(what for name in chosen for what in results[name]))
    print("| | " + " | ".join(f"{chosen[name].name} {chosen[name].version}" for name in chosen) + " |")
    print("|---" * (len(chosen) + 1) + "|")
    for what in rows:
        cells = [shown(results[name][what]) if what in results[name] else "-" for name in chosen]
        print(f"| {what} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("work", "shardmill", "java"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--subjects", default="")
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    every = subjects.subjects(arguments.shardmill)
    chosen = {name: every[name] for name in arguments.subjects.split(",") if name} or every
    parts = {"life": lives, "catch-up": catch_ups, "idle-shards": idle}
    results = {name: {} for name in chosen}
    for part in arguments.only.split(","):
        began = time.monotonic()
        parts[part](chosen, arguments, results)
        say(f"{part} took {time.monotonic() - began:.0f} s")
    versions = {name: subject.version for name, subject in chosen.items()}
    path = arguments.work / "measured.json"
    path.write_text(json.dumps({"versions": versions, "results": results}, indent=2), encoding="utf-8")
    print()
    table(chosen, results)
    print(f"\nall of it: {path}")
    return 0


sys.exit(main())
