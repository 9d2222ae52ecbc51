"""Passes on the messages that contain a pattern, in upper case (ASCII), with their keys.

Configuration: `pattern`, text to look for, `error` unless set; `output`, where the messages go, `console.filtered`
unless set.
"""

from functools import cache

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import collector, config
from wit_world.imports.types import BatchError, Envelope, TaskError_Other


class BatchProcessor(exports.BatchProcessor):
    def process_batch(self, envelopes: list[Envelope]) -> None:
        for index, envelope in enumerate(envelopes):
            try:
                handle(envelope)
            # Any other exception would end the instance.
            except Exception as error:
                raise Err(BatchError(index, TaskError_Other(repr(error)))) from error


def handle(envelope: Envelope) -> None:
    output, pattern = settings()
    if pattern in envelope.message:
        collector.send(output, envelope.key, envelope.message.upper())


# Read at the first call: what stands at the top level runs when the component is built.
@cache
def settings() -> tuple[int, bytes]:
    output = collector.output(config.get("output") or "console.filtered")
    return output, (config.get("pattern") or "error").encode()
