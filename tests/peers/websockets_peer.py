"""A peer made with the package `websockets`, which answers pings by itself.

`client URL [SUBPROTOCOL]` dials; `server [CERT KEY]` echoes every message, pings ten times a second and speaks
the subprotocol `heart.v1` where that is offered, over TLS if there is a certificate. Both tell what happens, and take these commands on
their input:

- `echo`: as a client, send a text, a binary and a 1 MiB message, and expect each back;
- `fragments`: send a text in three fragments with a ping, and the wait for its pong, among them;
- `ping`: send a ping and wait for its pong;
- `send LENGTH`: send a binary message and expect nothing;
- `close CODE [REASON]`.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TEXT = "grüße, heart ♥"
MESSAGES = {
    "text": TEXT,
    "binary": bytes(range(256)),
    "mebibyte": bytes(range(256)) * 4096,
}


def say(event, **rest):
    print(json.dumps({"event": event, **rest}), flush=True)


async def ping(ws, payload):
    await (await ws.ping(payload))
    say("pong")


async def fragments(ws):
    whole = TEXT.encode()
    yield whole[:2]
    await ping(ws, b"between")
    # The cut goes through the last letter, as it may (RFC 6455, section 5.6).
    yield whole[2:-1]
    yield whole[-1:]


async def obey(ws, arrived, command, rest):
    match command:
        case "echo":
            for what, message in MESSAGES.items():
                await ws.send(message)
                say("echoed", what=what, same=await arrived.get() == message)
        case "fragments":
            await ws.send(fragments(ws), text=True)
            if arrived:
                say("echoed", what="fragments", same=await arrived.get() == TEXT)
        case "ping":
            await ping(ws, b"by command")
        case "send":
            await ws.send(bytes(int(rest)))
        case "close":
            code, _, reason = rest.partition(" ")
            await ws.close(int(code), reason)
        case _:
            raise ValueError(command)


async def obey_all(ws, arrived, commands):
    while True:
        await obey(ws, arrived, *await commands.get())


async def ping_always(ws):
    while True:
        await ping(ws, None)
        await asyncio.sleep(0.1)


async def read(ws, arrived):
    """Hands on what arrives, or sends it back."""
    async for message in ws:
        say("message", length=len(message))
        await (arrived.put(message) if arrived else ws.send(message))


async def hold(ws, commands, arrived=None):
    """Talks until the connection is closed; only a client notes what arrived."""
    say(
        "open",
        subprotocol=ws.subprotocol,
        extensions=", ".join(extension.name for extension in ws.protocol.extensions),
        path=ws.request.path,
        origin=ws.request.headers.get("Origin"),
    )
    work = [read(ws, arrived), obey_all(ws, arrived, commands)]
    if arrived is None:
        work.append(ping_always(ws))
    tasks = [asyncio.create_task(each) for each in work]
    await ws.wait_closed()
    say("closed", code=ws.close_code, reason=ws.close_reason)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        expected = (asyncio.CancelledError, ConnectionClosed)
        if isinstance(outcome, Exception) and not isinstance(outcome, expected):
            raise outcome


async def read_commands(commands):
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in lines:
        command, _, rest = line.decode().strip().partition(" ")
        await commands.put((command, rest))


async def client(commands, url, *subprotocols):
    options = {"max_size": None, "ping_interval": None, "proxy": None}
    try:
        ws = await connect(
            url, subprotocols=subprotocols or None, origin="http://heart.example", **options
        )
    except (InvalidHandshake, ssl.SSLError) as error:
        say("failed", reason=str(error))
        return
    await hold(ws, commands, asyncio.Queue())


async def server(commands, *pair):
    def choose(_, offered):
        return "heart.v1" if "heart.v1" in offered else None

    async def handle(ws):
        await hold(ws, commands)

    options = {"max_size": None, "ping_interval": None}
    if pair:
        options["ssl"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        options["ssl"].load_cert_chain(*pair)
    async with serve(handle, "127.0.0.1", 0, select_subprotocol=choose, **options) as server:
        say("listening", port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def main(role, *rest):
    commands = asyncio.Queue()
    reader = asyncio.create_task(read_commands(commands))
    await {"client": client, "server": server}[role](commands, *rest)
    reader.cancel()


asyncio.run(main(*sys.argv[1:]))
