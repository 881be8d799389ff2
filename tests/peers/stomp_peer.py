"""A STOMP 1.2 client made with the package `stomp.py`, which sends its heart-beats by itself.

`PORT` dials. It promises a beat each second and would like to get one each second, tells what happens, and takes these
commands on its input: `subscribe ID DESTINATION`, `unsubscribe ID`, `send DESTINATION TEXT` and `disconnect`, each
but the last with a receipt.
"""

import json
import sys

import stomp


def say(event, **rest):
    # The line with its end: another thread may say something before what `print` adds.
    print(json.dumps({"event": event, **rest}) + "\n", end="", flush=True)


class Ears(stomp.ConnectionListener):
    def on_connected(self, frame):
        say("connected", version=frame.headers["version"])

    def on_message(self, frame):
        say("message", subscription=frame.headers["subscription"], text=frame.body)

    def on_receipt(self, frame):
        say("receipt", id=frame.headers["receipt-id"])

    def on_error(self, frame):
        say("error", message=frame.headers.get("message"))

    def on_heartbeat(self):
        say("beat")

    def on_disconnected(self):
        say("disconnected")


# Its own judgement of the server's beats is not what is tried here, so it may be late.
connection = stomp.Connection12(
    [("127.0.0.1", int(sys.argv[1]))],
    heartbeats=(1000, 1000),
    heart_beat_receive_scale=30,
    reconnect_attempts_max=1,
)
connection.set_listener("", Ears())
connection.connect(wait=True)
for line in sys.stdin:
    match line.rstrip("\n").split(" ", 2):
        case ["subscribe", number, destination]:
            connection.subscribe(destination, number, headers={"receipt": "subscribe"})
        case ["unsubscribe", number]:
            connection.unsubscribe(number, headers={"receipt": "unsubscribe"})
        case ["send", destination, text]:
            connection.send(destination, text, headers={"receipt": "send"})
        case ["disconnect"]:
            connection.disconnect(receipt="disconnect")
