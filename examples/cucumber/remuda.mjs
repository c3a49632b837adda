// A formatter of cucumber-js for Remuda: scenarios by `file:line`, which is how cucumber-js selects them. In a dry run
// it prints them, else it writes a line of JSON for each.
import { Formatter, Status } from '@cucumber/cucumber';

export default class Remuda extends Formatter {
  constructor(options) {
    super(options);
    options.eventBroadcaster.on('envelope', (envelope) => {
      if (envelope.testCaseFinished && !envelope.testCaseFinished.willBeRetried) {
        this.tell(options.eventDataCollector.getTestCaseAttempt(envelope.testCaseFinished.testCaseStartedId));
      }
    });
  }

  tell({ gherkinDocument, pickle, stepResults, worstTestStepResult }) {
    const nodes = gherkinDocument.feature.children.flatMap((c) => (c.rule ? c.rule.children : [c])).map((c) => c.scenario);
    const rows = nodes.filter(Boolean).flatMap((s) => [s, ...s.examples.flatMap((e) => e.tableBody)]);
    const line = rows.find((row) => row.id === pickle.astNodeIds.at(-1)).location.line;
    const id = `${pickle.uri}:${line}`;
    if (process.env.LIST) return this.log(`${id}\n`);
    // not defined, pending and ambiguous steps fail a run, as cucumber-js has it
    const { PASSED, SKIPPED } = Status;
    const outcome = { [PASSED]: 'passed', [SKIPPED]: 'skipped' }[worstTestStepResult.status] ?? 'failed';
    const seconds = Object.values(stepResults).reduce((sum, r) => sum + r.duration.seconds + r.duration.nanos / 1e9, 0);
    const text = worstTestStepResult.message ?? '';
    const message = outcome === 'failed' ? text.split('\n')[0] || worstTestStepResult.status : '';
    this.log(`${JSON.stringify({ id, name: pickle.name, outcome, message, text, seconds })}\n`);
  }
}
