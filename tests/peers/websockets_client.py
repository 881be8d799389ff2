"""A client made with the package `websockets`.

Reads messages all the time, and answers pings as the package does by itself. Takes commands on its
input: `echo` sends a text, a binary and a 1 MiB message and expects each back, `close` closes.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

MESSAGES = {
    "text": "grüße, heart ♥",
    "binary": bytes(range(256)),
    "mebibyte": bytes(range(256)) * 4096,
}


def say(event, **rest):
    print(json.dumps({"event": event, **rest}), flush=True)


async def read(ws, arrived):
    async for message in ws:
        say("message", length=len(message))
        await arrived.put(message)


async def obey(ws, arrived):
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in lines:
        match line.strip():
            case b"echo":
                for name, message in MESSAGES.items():
                    await ws.send(message)
                    back = await arrived.get()
                    say("echoed", what=name, same=back == message)
            case b"close":
                await ws.close()


async def main(url):
    async with connect(url, max_size=None, ping_interval=None, proxy=None) as ws:
        say("open")
        arrived = asyncio.Queue()
        tasks = [asyncio.create_task(read(ws, arrived)), asyncio.create_task(obey(ws, arrived))]
        await ws.wait_closed()
        say("closed", code=ws.close_code)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            expected = (asyncio.CancelledError, ConnectionClosed)
            if isinstance(outcome, Exception) and not isinstance(outcome, expected):
                raise outcome


asyncio.run(main(sys.argv[1]))
