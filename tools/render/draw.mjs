// Draws dashboards to PNG files: node draw.mjs SETTINGS.json, which `python -m tests.screenshots` writes.
// Prints a line per panel that is not well, and ends with 1 if there is one.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { chromium } from 'playwright-core';

const { boards, out, chromium: executablePath, ...settings } = JSON.parse(await readFile(process.argv[2], 'utf8'));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.woff2': 'font/woff2', '.woff': 'font/woff' };
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'];

const server = createServer(async (request, response) => {
  const path = request.url === '/' ? '/index.html' : request.url.split('?')[0];
  try {
    const body = await readFile(new URL(`dist${path}`, import.meta.url));
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
let bad = 0;
for (const file of boards) {
  const board = JSON.parse(await readFile(file, 'utf8'));
  // As high as the whole dashboard: what is out of sight isn't drawn.
  const lines = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const page = await browser.newPage({ viewport: { width: 1600, height: lines * 38 + 120 } });
  page.on('pageerror', (error) => { bad += 1; console.log(`${board.title}: ${error.stack}`); });
  await page.addInitScript(([given, drawn]) => { window.settings = given; window.board = drawn; }, [settings, board]);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const wanted = board.panels.filter((panel) => panel.type !== 'row').length;
  await page.waitForFunction((count) => window.drawn?.length >= count, wanted, { timeout: 60000 }).catch(() => { bad += 1; console.log(`${board.title}: not all panels came`); });
  await page.evaluate(() => document.fonts.ready);
  await page.waitForTimeout(1000);
  for (const { title, state, detail } of await page.evaluate(() => window.drawn ?? [])) {
    if (state !== 'ok') { bad += 1; console.log(`${board.title}: ${title}: ${state} ${detail ?? ''}`); }
  }
  await page.screenshot({ path: join(out, `${basename(file, '.json')}.png`), fullPage: true });
  await page.close();
}
await browser.close();
server.close();
process.exit(bad ? 1 : 0);
