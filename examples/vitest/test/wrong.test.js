import { expect, test } from 'vitest';

test('adds', () => expect(1 + 1).toBe(2));
test('adds wrongly', () => expect(2 + 2, 'two and two').toBe(5));
