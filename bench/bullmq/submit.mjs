// Queues N jobs whose payload is a test id of 60 bytes, 500 in a call.  node submit.mjs PORT N
import { Queue } from 'bullmq';

const [port, jobs] = process.argv.slice(2).map(Number);
const queue = new Queue('noop', { connection: { host: '127.0.0.1', port } });
const pad = (number, digits) => String(number).padStart(digits, '0');
const id = (n) => `tests/unit/test_module_${pad(Math.floor(n / 50), 4)}.py::test_case_number_${pad(n, 14)}`;

for (let first = 0; first < jobs; first += 500) {
  const count = Math.min(500, jobs - first);
  await queue.addBulk(Array.from({ length: count }, (_, i) => ({ name: 't', data: { id: id(first + i) } })));
}
await queue.close();
