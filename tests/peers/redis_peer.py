"""A client made with the package `redis`, in RESP2.

`PORT PASSWORD` dials. It tells what happens, and takes these commands on its input: `ping`, `echo TEXT`, `pipeline`
(a ping, an echo and a command that is not known, at once), `subscribe TOPIC`, `unsubscribe TOPIC`, `publish TOPIC TEXT`,
`flood TOPIC COUNT` (messages of 64 KiB) and `quit`. What is published arrives on a connection of its own,
which is dialed at the first `subscribe`, and again when it is lost.
"""

import json
import sys
import threading

import redis


def say(event, **rest):
    # The line with its end: another thread may say something before what `print` adds.
    print(json.dumps({"event": event, **rest}) + "\n", end="", flush=True)


def hear(heard):
    for message in heard.listen():
        say(message["type"], topic=message["channel"], data=message["data"])


def pipeline(client):
    together = client.pipeline(transaction=False)
    together.ping()
    together.echo("between")
    together.execute_command("NOTHING")
    answers = together.execute(raise_on_error=False)
    say("answers", answers=[answer if isinstance(answer, (bool, str)) else "error" for answer in answers])


port, password = sys.argv[1:]
# Setting its name or its version is nothing that the example knows.
client = redis.Redis(
    port=int(port), password=password, protocol=2, decode_responses=True, lib_name=None, lib_version=None
)
heard = client.pubsub()
thread = threading.Thread(target=hear, args=[heard], daemon=True)
try:
    say("pong", same=client.ping())
    for line in sys.stdin:
        match line.rstrip("\n").split(" ", 2):
            case ["ping"]:
                say("pong", same=client.ping())
            case ["echo", text]:
                say("echoed", same=client.echo(text) == text)
            case ["pipeline"]:
                pipeline(client)
            case ["subscribe", topic]:
                heard.subscribe(topic)
                thread.is_alive() or thread.start()
            case ["unsubscribe", topic]:
                heard.unsubscribe(topic)
            case ["publish", topic, text]:
                say("published", subscribers=client.publish(topic, text))
            case ["flood", topic, count]:
                for _ in range(int(count)):
                    client.publish(topic, "x" * 65536)
                say("flooded")
            case ["quit"]:
                say("quit", said=client.execute_command("QUIT"))
except redis.AuthenticationError:
    say("refused")
