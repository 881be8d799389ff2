// A server made with the package `ws`. Arguments: interval and timeout, ms; for TLS the files of a
// certificate and its key.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { WebSocketServer } = createRequire(`${process.env.PEER_PACKAGES}/`)('ws');

const [interval, timeout] = process.argv.slice(2, 4).map(Number);
const [cert, key] = process.argv.slice(4).map((file) => readFileSync(file));
const payload = Buffer.from([1, 2, 3, 4]);
const counts = { held: 0, written: 0, answered: 0, ended: 0 };

// Golden-ratio steps spread the intervals of connections that come at once.
const phase = () => (Math.imul(counts.held, 0x9e3779b9) >>> 0) / 2 ** 32;

function keep(socket) {
  let heard = performance.now();
  const beat = () => {
    if (performance.now() - heard > timeout) return socket.terminate();
    socket.ping(payload);
    counts.written += 1;
  };
  let timer = setTimeout(() => {
    timer = setInterval(beat, interval);
    beat();
  }, interval * phase());
  counts.held += 1;
  socket.on('pong', () => {
    heard = performance.now();
    counts.answered += 1;
  });
  // A reset is an error, and a close follows.
  socket.on('error', () => {});
  socket.on('close', () => {
    clearInterval(timer);
    counts.held -= 1;
    counts.ended += 1;
  });
}

function look() {
  const { user, system } = process.cpuUsage();
  const numbers = { ...counts, cpu: (user + system) * 1000 };
  console.log(JSON.stringify({ numbers, times: {} }));
}

const place = { host: '127.0.0.1', port: 0, backlog: 4096 };
const secure = cert && createServer({ cert, key });
const server = new WebSocketServer(secure ? { server: secure } : place);
server.on('connection', keep);
server.on('listening', () => console.log(`127.0.0.1:${server.address().port}`));
secure?.listen(place);

const commands = createInterface({ input: process.stdin });
commands.on('line', look);
commands.on('close', () => process.exit());
