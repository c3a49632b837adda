# frozen_string_literal: true

# The reporter that the examples of a runner speak to.
#
# Formatters live in the loader and hear of results later (replay.rb). Listeners that the suite registered by itself
# look at the process that runs the example, and are told at once. Must not format a result.

module RemudaRspec
  # A reporter without formatters.
  class Relay < RSpec::Core::Reporter
    attr_reader :said

    # `trouble` is called with every error outside of examples.
    def initialize(configuration, listeners, sink, &trouble)
      super(configuration)
      @setup = true
      @sink = sink
      @trouble = trouble
      @said = []
      listeners.each { |event, some| some.each { |listener| register_listener(listener, event) } }
    end

    # From here on RSpec itself, and suites that ask it for its reporter, find this one.
    def install
      @configuration.instance_variable_set(:@reporter, self)
    end

    def message(text)
      @said << text.to_s
      super
    end

    # What was said since the last call.
    def take_said
      return nil if @said.empty?

      @said.join("\n").tap { @said.clear }
    end

    def deprecation(hash)
      @sink.put("deprecation" => hash.transform_keys(&:to_s).transform_values { |value| value&.to_s })
    end

    def notify_non_example_exception(exception, description)
      @configuration.world.non_example_failure = true
      example = RSpec::Core::Example.new(RSpec::Core::AnonymousExampleGroup, description, {})
      presenter = RSpec::Core::Formatters::ExceptionPresenter.new(exception, example, indentation: 0)
      text = presenter.fully_formatted(nil, RSpec::Core::Notifications::NullColorizer)
      @sink.put("trouble" => Wire.utf8(text))
      @trouble.call(exception, description, text)
    end

    # Whether there were enough failures is decided for all hosts.
    def fail_fast_limit_met?
      false
    end

    # The runner needs none of them, and there may be many.
    def example_finished(example)
      super
      [@examples, @failed_examples, @pending_examples].each(&:clear)
    end
  end
end
