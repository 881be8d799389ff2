// A client that is a page in headless Chromium, driven by the package `playwright-core`.
//
// `BROWSER URL [SUBPROTOCOL]` starts the browser and opens `page.html` there; what the page tells is
// printed. Takes the commands of the other clients on its input, as far as a page can obey them:
// `echo`, `send LENGTH` and `close CODE [REASON]`; and `leave`, which closes the page. The browser ends
// with the input.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { chromium } = createRequire(`${process.env.PEER_PACKAGES}/`)('playwright-core');

const say = (event, rest) => console.log(JSON.stringify({ event, ...rest }));

const args = [
  // The sandbox refuses to run for root, and the only page is our own.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--disable-component-update',
  '--disable-background-networking',
  '--disable-sync',
  '--no-first-run',
];

const [executablePath, url, ...subprotocols] = process.argv.slice(2);

// Whoever started this has the patience, and ends it when that is over.
const server = await chromium.launchServer({ executablePath, args, timeout: 0 });
server.on('close', () => process.exit());
// It leads a process group of its own.
say('browser', { pid: server.process().pid });

const browser = await chromium.connect(server.wsEndpoint());
const page = await browser.newPage();
page.setDefaultTimeout(0);
page.on('pageerror', (error) => say('error', { reason: error.message }));
page.on('console', (message) => say('console', { text: message.text() }));
await page.exposeFunction('report', ({ event, ...rest }) => say(event, rest));

const place = new URL('page.html', import.meta.url);
place.searchParams.append('url', url);
for (const subprotocol of subprotocols) {
  place.searchParams.append('subprotocol', subprotocol);
}
await page.goto(place.href);

async function obey(line) {
  const [, command, number, rest] = line.match(/^(\w+) ?(\d*) ?(.*)$/);
  switch (command) {
    case 'echo':
      return page.evaluate('peer.echo()');
    case 'send':
      return page.evaluate((length) => peer.send(new Uint8Array(length)), Number(number));
    case 'close':
      return page.evaluate(([code, reason]) => peer.close(code, reason), [Number(number), rest]);
    case 'leave':
      return page.close();
    default:
      throw new Error(line);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  await obey(line);
}
await server.close();
