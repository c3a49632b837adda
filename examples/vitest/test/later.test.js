import { test } from 'vitest';

test.skip('needs a bank', () => {});
test.todo('divides');
