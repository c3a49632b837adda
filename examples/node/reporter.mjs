// Tells Remuda of each test: one line of JSON, named by its file (the JUnit reporter of Node 20 names no file).
import { relative } from 'node:path';

export default async function* remuda(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite' && type === 'test:pass') continue;
    const error = data.details?.error;
    const skipped = data.skip !== undefined || data.todo !== undefined;
    yield JSON.stringify({
      id: relative(process.cwd(), data.file ?? data.name),
      name: data.name,
      outcome: skipped ? 'skipped' : type === 'test:pass' ? 'passed' : 'failed',
      message: skipped ? String(data.skip ?? data.todo) : (error?.cause?.message ?? error?.message ?? ''),
      text: error && !skipped ? String(error.cause?.stack ?? error.stack ?? error.cause ?? error) : '',
      seconds: data.nesting === 0 ? (data.details?.duration_ms ?? 0) / 1000 : 0,
    }) + '\n';
  }
}
