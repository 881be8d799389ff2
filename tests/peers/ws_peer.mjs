// A peer made with the package `ws`, which answers pings by itself.
//
// `client URL [SUBPROTOCOL]` dials; `server [CERT KEY]` echoes every message, pings ten times a second and speaks
// the subprotocol `heart.v1` where that is offered, over TLS if there is a certificate, and compresses for who offers that. Both tell what happens, and take these commands on
// their input:
//
// - `echo`: as a client, send a text, a binary and a 1 MiB message, and expect each back;
// - `fragments`: send a text in three fragments with a ping, and the wait for its pong, among them;
// - `ping`: send a ping and wait for its pong;
// - `send LENGTH`: send a binary message and expect nothing;
// - `close CODE [REASON]`.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createPlain } from 'node:http';
import { createServer as createSecure } from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { WebSocket, WebSocketServer } = createRequire(`${process.env.PEER_PACKAGES}/`)('ws');

const say = (event, rest) => console.log(JSON.stringify({ event, ...rest }));

const text = 'grüße, heart ♥';
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const messages = {
  text,
  binary: everyByte,
  mebibyte: Buffer.concat(Array(4096).fill(everyByte)),
};

async function isBack(socket, message) {
  const [data, isBinary] = await once(socket, 'message');
  return isBinary === (typeof message !== 'string') && data.equals(Buffer.from(message));
}

async function ping(socket, payload) {
  socket.ping(payload);
  let answer;
  do {
    [answer] = await once(socket, 'pong');
  } while (answer.toString() !== payload);
}

async function sendFragments(socket) {
  const whole = Buffer.from(text);
  socket.send(whole.subarray(0, 2), { binary: false, fin: false });
  await ping(socket, 'between');
  // The cut goes through the last letter, as it may (RFC 6455, section 5.6).
  socket.send(whole.subarray(2, -1), { binary: false, fin: false });
  socket.send(whole.subarray(-1), { binary: false, fin: true });
}

async function obey(socket, role, line) {
  const [, command, number, rest] = line.match(/^(\w+) ?(\d*) ?(.*)$/);
  switch (command) {
    case 'echo':
      for (const [what, message] of Object.entries(messages)) {
        socket.send(message);
        say('echoed', { what, same: await isBack(socket, message) });
      }
      break;
    case 'fragments':
      await sendFragments(socket);
      if (role === 'client') {
        say('echoed', { what: 'fragments', same: await isBack(socket, text) });
      }
      break;
    case 'ping':
      await ping(socket, 'by command');
      break;
    case 'send':
      socket.send(Buffer.alloc(Number(number)));
      break;
    case 'close':
      socket.close(Number(number), rest);
      break;
    default:
      throw new Error(line);
  }
}

function follow(socket) {
  socket.on('ping', () => say('ping'));
  socket.on('pong', () => say('pong'));
  socket.on('message', (data) => say('message', { length: data.length }));
  socket.on('error', (error) => say('error', { reason: error.message }));
  socket.on('close', (code, reason) => say('closed', { code, reason: reason.toString() }));
}

function dial(url, ...subprotocols) {
  const socket = new WebSocket(url, subprotocols, { origin: 'http://heart.example' });
  let isOpen = false;
  follow(socket);
  socket.on('open', () => {
    isOpen = true;
    say('open', { subprotocol: socket.protocol || null, extensions: socket.extensions });
  });
  socket.on('error', (error) => isOpen || say('failed', { reason: error.message }));
  socket.on('close', () => process.exit());
  return () => socket;
}

function listen(...pair) {
  const handleProtocols = (offered) => offered.has('heart.v1') && 'heart.v1';
  const [cert, key] = pair.map((file) => readFileSync(file));
  const http = cert ? createSecure({ cert, key }) : createPlain();
  const server = new WebSocketServer({
    server: http,
    handleProtocols,
    perMessageDeflate: { threshold: 64 },
  });
  let latest;
  server.on('listening', () => say('listening', { port: server.address().port }));
  http.listen(0, '127.0.0.1');
  server.on('connection', (socket, { url: path, headers: { origin } }) => {
    latest = socket;
    say('open', { subprotocol: socket.protocol || null, path, origin });
    follow(socket);
    const pinger = setInterval(() => socket.ping(), 100);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('close', () => clearInterval(pinger));
  });
  return () => latest;
}

const [role, ...rest] = process.argv.slice(2);
const socket = role === 'client' ? dial(...rest) : listen(...rest);
for await (const line of createInterface({ input: process.stdin })) {
  await obey(socket(), role, line);
}
