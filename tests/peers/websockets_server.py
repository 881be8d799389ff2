"""A server made with the package `websockets`: echoes every message, and pings ten times a second."""

import asyncio
import json

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


def say(event, **rest):
    print(json.dumps({"event": event, **rest}), flush=True)


async def ping(ws):
    try:
        while True:
            answered = await ws.ping()
            await answered
            say("pong")
            await asyncio.sleep(0.1)
    except ConnectionClosed:
        pass


async def handle(ws):
    say("open")
    pinger = asyncio.create_task(ping(ws))
    try:
        async for message in ws:
            say("message", length=len(message))
            await ws.send(message)
    except ConnectionClosed:
        pass
    finally:
        pinger.cancel()
        say("closed", code=ws.close_code)


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        say("listening", port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


asyncio.run(main())
