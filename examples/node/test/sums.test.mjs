import assert from 'node:assert';
import { describe, it, test } from 'node:test';

test('adds', () => assert.equal(1 + 1, 2));

describe('carry', () => {
  it('is one', () => assert.equal(Math.floor((9 + 9) / 10), 1));
});
