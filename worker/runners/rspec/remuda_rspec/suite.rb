# frozen_string_literal: true

# The loaded suite, as loader and runners share it: its examples in order, whether it may be forked, what came of it.

require_relative "manifest"
require_relative "replay"

module RemudaRspec
  # A suite that was loaded.
  class Suite
    attr_reader :config, :examples, :why_not_fork, :seed

    # RSpec's exit code; before 3.10 its runner had no method for it.
    def self.exit_code(runner, passed)
      return runner.exit_code(passed) if runner.respond_to?(:exit_code)

      passed && !RSpec.world.non_example_failure ? 0 : runner.configuration.failure_exit_code
    end

    # `seed`: what somebody has seeded the random numbers with while loading, or nil.
    def initialize(runner, messages, why_not_fork, seed)
      @runner = runner
      @config = runner.configuration
      @messages = messages
      @why_not_fork = why_not_fork
      @seed = seed
      @manifest = Manifest.new(RSpec.world)
      @examples = @manifest.examples
      @replay = Replay.new(runner, @manifest, messages)
    end

    # What the daemon is told: parts, then options.
    def manifest_parts
      @manifest.parts
    end

    def options
      Manifest.options(@config, wants_records)
    end

    # Whether the loader's formatters want to hear of every example.
    def wants_records
      @replay.wanted?
    end

    # Listeners that the suite registered by itself: they belong where the examples run.
    def listeners
      @replay.live_listeners
    end

    def record(record)
      @replay.add(record)
    end

    def record_crash(number, status)
      @replay.add_crash(number, status)
    end

    # The end of the session: RSpec's exit code, and what it printed. A formatter that fails ends RSpec; here it must
    # not end what others have printed.
    def finish
      code = @replay.play
      [code, @messages.take]
    rescue StandardError => error
      [1, @messages.take + error.full_message(highlight: false)]
    end
  end
end
