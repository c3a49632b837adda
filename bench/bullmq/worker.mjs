// Handles jobs that do nothing, from a line on standard input until SIGTERM; then says how many.
// node worker.mjs PORT CONCURRENCY
import { once } from 'node:events';
import { Worker } from 'bullmq';

const [port, concurrency] = process.argv.slice(2).map(Number);
let handled = 0;
const handle = async () => { handled += 1; };
const worker = new Worker('noop', handle, { connection: { host: '127.0.0.1', port }, concurrency, autorun: false });
worker.on('error', (error) => { console.error(String(error)); process.exit(1); });
process.on('SIGTERM', async () => {
  await worker.close();
  console.log(JSON.stringify({ handled }));
  process.exit(0);
});
await worker.waitUntilReady();
console.log('ready');
await once(process.stdin, 'data');
worker.run();
