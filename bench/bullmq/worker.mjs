// Handles jobs that do nothing, until SIGTERM; then says how many.  node worker.mjs PORT CONCURRENCY
import { Worker } from 'bullmq';

const [port, concurrency] = process.argv.slice(2).map(Number);
let handled = 0;
const worker = new Worker('noop', async () => { handled += 1; }, { connection: { host: '127.0.0.1', port }, concurrency });
worker.on('error', (error) => { console.error(String(error)); process.exit(1); });
process.on('SIGTERM', async () => {
  await worker.close();
  console.log(JSON.stringify({ handled }));
  process.exit(0);
});
