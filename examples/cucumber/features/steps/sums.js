const assert = require('node:assert');
const { Given, Then, When } = require('@cucumber/cucumber');

Given('the number {int}', function (n) { this.sum = n; });
When('{int} is added', function (n) { this.sum += n; });
Then('the sum is {int}', function (n) { assert.strictEqual(this.sum, n); });
Given('there is no bank', () => 'skipped');
Given('a pause', () => new Promise((resolve) => setTimeout(resolve, 300)));
Given('the process ends', () => process.exit(3));
