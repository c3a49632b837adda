import { describe, expect, test } from 'vitest';

test('adds', () => expect(1 + 1).toBe(2));

describe('carry', () => {
  test('is one', () => expect(Math.floor((9 + 9) / 10)).toBe(1));
});
