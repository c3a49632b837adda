# frozen_string_literal: true

# What RSpec says outside of examples, kept for the daemon instead of a terminal: its output stream is memory, and the
# formatter that it would choose by itself is a quiet one. Formatters that the user asked for are left as they are.
#
# Must not touch results.

require "rspec/core/formatters/base_formatter"
require "stringio"
require_relative "echo"

module RemudaRspec
  # The default formatter of a run whose results the daemon tells.
  class Quiet < RSpec::Core::Formatters::BaseFormatter
    RSpec::Core::Formatters.register self, :message, :stop, :seed

    def message(notification)
      output.puts(notification.message)
    end

    def stop(_notification)
      @stopped = true
    end

    # RSpec tells the seed twice; ours is the one at the end.
    def seed(notification)
      output.puts(notification.fully_formatted) if notification.seed_used? && @stopped
    end
  end

  # RSpec's output and its errors outside of examples.
  class Messages
    attr_reader :out, :troubles

    def initialize
      @out = StringIO.new(String.new(encoding: Encoding::UTF_8))
      @troubles = []
    end

    # Before RSpec is configured.
    def intercept(config)
      config.deprecation_stream = @out
      loader = config.formatter_loader
      loader.define_singleton_method(:setup_default) do |output, deprecations|
        add(Quiet, output) if formatters.empty?
        super(output, deprecations)
      end
      keep_from_aborting(loader.reporter)
      troubles = @troubles
      loader.reporter.define_singleton_method(:notify_non_example_exception) do |exception, description|
        troubles << [exception, description]
        super(exception, description)
      end
    end

    # RSpec would end the process without a word to the daemon: with --only-failures and no file of failures.
    def keep_from_aborting(reporter)
      reporter.define_singleton_method(:abort_with) do |text, status|
        message(text)
        exit(status)
      end
    end

    # One line for a suite that could not be loaded.
    def headline
      exception, description = @troubles.first
      return nil unless exception

      first = Echo.message(exception).strip.lines.first.to_s.strip
      more = @troubles.size > 1 ? " (and #{@troubles.size - 1} more)" : ""
      place = description.lines.first.strip.sub(/ - Did you mean\?\z/, "").chomp(".")
      "#{place}: #{exception.class}: #{first}#{more}"
    end

    def first_line
      text.lines.first.to_s.strip
    end

    def text
      Wire.utf8(@out.string).sub(/\A\n+/, "")
    end

    # Forgets what was said so far, and returns it.
    def take
      text.tap { @out.reopen(String.new(encoding: Encoding::UTF_8)) }
    end
  end
end
