"""The fuzzing server of the Autobahn Testsuite, on a free port of this machine. Its own command, `wstest`,
takes a fixed port and listens on every address. With a key and a certificate it speaks TLS. Written in
Python 2.7, as the suite is."""

import json
import socket
import sys

from autobahntestsuite import fuzzing
from twisted.internet import reactor, ssl
from twisted.protocols.tls import TLSMemoryBIOFactory

with open(sys.argv[1]) as text:
    spec = json.load(text)

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
listener.setblocking(False)
port = listener.getsockname()[1]

factory = fuzzing.FuzzingServerFactory(dict(spec, url="ws://127.0.0.1:%d" % port))
if len(sys.argv) > 2:
    factory.isSecure = True
    factory = TLSMemoryBIOFactory(ssl.DefaultOpenSSLContextFactory(*sys.argv[2:4]), False, factory)
reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, factory)
print(json.dumps({"event": "listening", "port": port}))
reactor.run()
