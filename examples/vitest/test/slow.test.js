import { test } from 'vitest';

test('takes its time', () => new Promise((resolve) => setTimeout(resolve, 300)));
