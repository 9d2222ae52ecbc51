"""Proxies in front of a service that count its calls by operation and change nothing."""

import asyncio
import re
import threading
from collections import Counter
from urllib.parse import urlsplit

TARGET = re.compile(rb"(?im)^x-amz-target: *\w+\.(\w+)\r?$")
LINE_MAX = 200
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_HEADERS = 1


class Counted:
    """A proxy on a port of its own; its loop is a thread."""

    loop = None

    def __init__(self, endpoint):
        if Counted.loop is None:
            Counted.loop = asyncio.new_event_loop()
            threading.Thread(target=Counted.loop.run_forever, daemon=True).start()
        to = urlsplit(endpoint)
        self.calls = Counter()
        self._to = (to.hostname, to.port)
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), Counted.loop)
        self.endpoint = f"http://127.0.0.1:{server.result().sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer):
        try:
            service_reader, service_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pass(reader, service_writer, Calls(self.calls)),
            self._pass(service_reader, writer, None),
            return_exceptions=True,
        )

    async def _pass(self, reader, writer, calls):
        try:
            while data := await reader.read(1 << 16):
                if calls:
                    calls.feed(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


class Calls:
    """The calls in what a client sends on one connection. Those of HTTP/2 have no name: their headers are packed."""

    def __init__(self, counter):
        self.counter = counter
        self.rest = b""
        self.is_http2 = None
        self.skip = 0

    def feed(self, data):
        if self.is_http2 is None:
            self.is_http2 = data.startswith(HTTP2_PREFACE)
            data = data.removeprefix(HTTP2_PREFACE)
        if self.is_http2:
            return self._frames(data)
        text = self.rest + data
        end = 0
        for found in TARGET.finditer(text):
            self.counter[found.group(1).decode()] += 1
            end = found.end()
        self.rest = text[max(end, len(text) - LINE_MAX) :]

    def _frames(self, data):
        data = self.rest + data
        while True:
            skipped = min(self.skip, len(data))
            data, self.skip = data[skipped:], self.skip - skipped
            if len(data) < 9:
                self.rest = data
                return
            self.skip = int.from_bytes(data[:3], "big")
            self.counter["(HTTP/2)"] += data[3] == HTTP2_HEADERS
            data = data[9:]
