import { test } from 'node:test';

test('ends its process', () => process.exit(3));
