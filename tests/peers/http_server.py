"""A server made with Python's `http.server`, which answers by the path.

`/zero`, `/chunked` and `/folded` open a WebSocket, as old servers and devices do: with a Content-Length, a
Transfer-Encoding or folded header lines in the 101. `/302?URL` and its like send the client to a URL, `/busy`
away until a date. Every request is told in JSON.
"""

import base64
import hashlib
import json
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def say(event, **rest):
    # The line with its end: another thread may say something before what `print` adds.
    print(json.dumps({"event": event, **rest}) + "\n", end="", flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        named = {name: self.headers[name] for name in ("Host", "Authorization", "Cookie")}
        say("request", path=self.path, **{name.lower(): value for name, value in named.items()})
        kind, _, target = self.path[1:].partition("?")
        if kind.isdigit():
            self.send_response(int(kind))
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "busy":
            self.send_response(503)
            self.send_header("Retry-After", formatdate(time.time() + 300, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.open(kind)

    def open(self, kind):
        key = self.headers["Sec-WebSocket-Key"]
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        upgrade = "Upgrade:\r\n websocket" if kind == "folded" else "Upgrade: websocket"
        more = {
            "zero": "Content-Length: 0\r\n",
            "chunked": "Transfer-Encoding: chunked\r\n",
            "folded": "X-Note: one\r\n\ttwo\r\n",
        }
        head = (
            f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{more.get(kind, '')}\r\n"
        )
        self.wfile.write(head.encode() + b"\x81\x05hello")
        # Until the client goes.
        self.rfile.read(1)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
say("listening", port=server.server_address[1])
server.serve_forever()
