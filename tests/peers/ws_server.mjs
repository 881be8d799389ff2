// A server made with the package `ws`: echoes every message, and pings ten times a second.

import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(`${process.env.PEER_PACKAGES}/`)('ws');

const say = (event, rest) => console.log(JSON.stringify({ event, ...rest }));

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });

server.on('listening', () => say('listening', { port: server.address().port }));
server.on('connection', (socket) => {
  say('open');
  const pinger = setInterval(() => socket.ping(), 100);
  socket.on('ping', () => say('ping'));
  socket.on('pong', () => say('pong'));
  socket.on('message', (data, isBinary) => {
    say('message', { length: data.length });
    socket.send(data, { binary: isBinary });
  });
  socket.on('error', (error) => say('error', { message: error.message }));
  socket.on('close', (code) => {
    clearInterval(pinger);
    say('closed', { code });
  });
});
