import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

test('takes its time', () => setTimeout(300));
