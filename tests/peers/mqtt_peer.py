"""An MQTT client made with the package `paho-mqtt`, which sends its keep-alives by itself.

`PORT NAME` dials; NAME is its client id. It asks for a keep-alive of two seconds, tells what happens, and takes
these commands on its input: `subscribe TOPIC`, `unsubscribe TOPIC`, `publish TOPIC TEXT` (delivered at least
once) and `disconnect`.
"""

import json
import sys

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion


def say(event, **rest):
    # The line with its end: another thread may say something before what `print` adds.
    print(json.dumps({"event": event, **rest}) + "\n", end="", flush=True)


port, name = sys.argv[1:]
client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv311, reconnect_on_failure=False)
client.on_connect = lambda client, data, flags, code, properties: say("connected", failed=code.is_failure)
client.on_subscribe = lambda client, data, number, codes, properties: say(
    "subscribed", failed=[code.is_failure for code in codes]
)
client.on_unsubscribe = lambda client, data, number, codes, properties: say("unsubscribed")
client.on_publish = lambda client, data, number, code, properties: say("acknowledged")
client.on_message = lambda client, data, message: say(
    "message", topic=message.topic, text=message.payload.decode()
)
client.on_disconnect = lambda client, data, flags, code, properties: say("disconnected", failed=code.is_failure)
# What it says of its keep-alives is only in its log.
client.on_log = lambda client, data, level, text: "PINGRESP" in text and say("pong")
client.connect("127.0.0.1", int(port), keepalive=2)
client.loop_start()
for line in sys.stdin:
    match line.rstrip("\n").split(" ", 2):
        case ["subscribe", topic]:
            client.subscribe(topic)
        case ["unsubscribe", topic]:
            client.unsubscribe(topic)
        case ["publish", topic, text]:
            client.publish(topic, text, qos=1)
        case ["disconnect"]:
            client.disconnect()
client.loop_stop()
