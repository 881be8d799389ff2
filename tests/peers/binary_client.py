"""A client of the binary wire, over a bare socket.

Answers each ping (0x01) with a pong (0x02). Takes commands on its input: `echo` sends a text, a
binary and a 1 MiB message (0x00, length, payload) and expects each back, `close` ends its output.
"""

import json
import os
import selectors
import socket
import sys

MESSAGES = {
    "text": "grüße, heart ♥".encode(),
    "binary": bytes(range(256)),
    "mebibyte": bytes(range(256)) * 4096,
}


def say(event, **rest):
    print(json.dumps({"event": event, **rest}), flush=True)


def take(received):
    """Returns the frames that lie complete in `received`, and removes them."""
    while received:
        if received[0] in (1, 2):
            yield received.pop(0), b""
        elif len(received) >= 5 and len(received) >= (
            end := 5 + int.from_bytes(received[1:5], "big")
        ):
            yield 0, bytes(received[5:end])
            del received[:end]
        else:
            return


def main(port):
    peer = socket.create_connection(("127.0.0.1", port))
    say("open")
    peer.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(peer, selectors.EVENT_READ)
    received, output, expected = bytearray(), bytearray(), []
    while True:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if output else 0)
        selector.modify(peer, wanted)
        for key, events in selector.select():
            if key.fileobj is sys.stdin:
                commands = os.read(sys.stdin.fileno(), 4096).split()
                if not commands:
                    selector.unregister(sys.stdin)
                for command in commands:
                    if command == b"echo":
                        for name, message in MESSAGES.items():
                            output += b"\0" + len(message).to_bytes(4, "big") + message
                            expected.append((name, message))
                    elif command == b"close":
                        peer.shutdown(socket.SHUT_WR)
                continue
            try:
                if events & selectors.EVENT_WRITE:
                    del output[: peer.send(output)]
                if not events & selectors.EVENT_READ:
                    continue
                data = peer.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                say("closed", how="reset")
                return
            if not data:
                say("closed", how="eof")
                return
            received += data
            for tag, payload in take(received):
                if tag == 1:
                    say("ping")
                    output += b"\x02"
                elif tag == 0:
                    name, message = expected.pop(0)
                    say("echoed", what=name, same=payload == message)


main(int(sys.argv[1]))
