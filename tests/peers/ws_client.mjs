// A client made with the package `ws`, which answers pings by itself. Takes commands on its input:
// `echo` sends a text, a binary and a 1 MiB message and expects each back, `close` closes.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { WebSocket } = createRequire(`${process.env.PEER_PACKAGES}/`)('ws');

const say = (event, rest) => console.log(JSON.stringify({ event, ...rest }));

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const messages = {
  text: 'grüße, heart ♥',
  binary: everyByte,
  mebibyte: Buffer.concat(Array(4096).fill(everyByte)),
};

const socket = new WebSocket(process.argv[2]);

socket.on('open', () => say('open'));
socket.on('ping', () => say('ping'));
socket.on('message', (data) => say('message', { length: data.length }));
socket.on('error', (error) => say('error', { message: error.message }));
socket.on('close', (code) => {
  say('closed', { code });
  process.exit(0);
});

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'echo') {
    for (const [what, message] of Object.entries(messages)) {
      socket.send(message);
      const [data, isBinary] = await once(socket, 'message');
      const same = isBinary === (what !== 'text') && data.equals(Buffer.from(message));
      say('echoed', { what, same });
    }
  } else if (line === 'close') {
    socket.close(1000);
  }
}
