import { test } from 'vitest';
import './no-such-module.js';

test('is never reached', () => {});
