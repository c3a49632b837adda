# frozen_string_literal: true

# Turns an example that ran into one result message.
#
# Knows RSpec's execution results and nothing of sockets or queues. An example that simply passed costs one formatted
# string.

require_relative "echo"
require_relative "wire"

module RemudaRspec
  # Result messages.
  module Outcome
    LARGEST_TEXT = 4 << 20
    LARGEST_MESSAGE = 4096
    PASSED = '{"type":"result","test":%d,"outcome":"passed","us":[%d,%d,%d],"detail":{"properties":[["description",%s]]}}'

    class << self
      # The body of a message. The description goes with every result: the id of an example says nothing to people.
      def passed(number, example, times)
        format(PASSED, number, *times, JSON.generate(Wire.utf8(example.full_description)))
      end

      # `trouble`: why the example could not run (Groups::Blocked) or what ended it (SystemExit).
      def result(number, example, times, wide, sections, trouble)
        outcome = judge(example.execution_result, trouble)
        detail = detail(example, outcome, trouble)
        detail["sections"] = sections unless sections.empty?
        detail["properties"] = [["description", Wire.utf8(example.full_description)]]
        message = { "type" => "result", "test" => number, "outcome" => outcome, "us" => times }
        message["wide"] = wide unless wide.empty?
        message["detail"] = detail
        message
      end

      # One line: what a list of failures shows.
      def message(exception)
        return several(exception) if RSpec::Core::MultipleExceptionError::InterfaceTag === exception

        lines = Echo.message(exception).lines.map(&:strip).reject(&:empty?)
        first = lines.first.to_s
        # "expected: 1" and "got: 2" are one thing in two lines.
        first = "#{first}, #{lines[1]}" if first.start_with?("expected") && lines[1].to_s.start_with?("got")
        first = "#{exception.class}: #{first}" unless exception.class.name.to_s.include?("RSpec")
        first[0, LARGEST_MESSAGE]
      end

      def shortened(text)
        return text if text.size <= LARGEST_TEXT

        head = LARGEST_TEXT / 4
        tail = LARGEST_TEXT - head
        "#{text[0, head]}\n[... #{text.size - LARGEST_TEXT} characters left out ...]\n#{text[-tail..-1]}"
      end

      private

      def several(exception)
        all = exception.all_exceptions.map { |one| message(one) }
        "#{exception.exception_count_description}: #{all.join("; ")}"[0, LARGEST_MESSAGE]
      end

      def judge(result, trouble)
        return "errored" if trouble.is_a?(SystemExit)
        return "errored" if trouble && !trouble.skip?

        case result.status
        when :passed then "passed"
        when :failed then "failed"
        when :pending then result.example_skipped? ? "skipped" : "xfailed"
        else "errored"
        end
      end

      def detail(example, outcome, trouble)
        case outcome
        when "passed" then {}
        when "skipped", "xfailed" then reason(example)
        else trouble.is_a?(SystemExit) ? left(example, trouble) : failure(example, trouble)
        end
      end

      def reason(example)
        found = { "reason" => Wire.utf8(example.execution_result.pending_message), "location" => place(example) }
        pending = example.execution_result.pending_exception
        found["message"] = message(pending) if pending
        found
      end

      def failure(example, blocked)
        exception = example.execution_result.exception
        message = message(exception)
        message = "Expected pending '#{example.execution_result.pending_message}' to fail. No error was raised." if
          example.execution_result.pending_fixed?
        {
          "message" => named(example, message), "longrepr" => shortened(text(example)),
          "when" => blocked ? "setup" : "call", "location" => line_of(exception) || place(example)
        }
      end

      def left(example, exit)
        message = "it called exit with code #{exit.status}: RSpec alone would have ended here"
        place = RSpec.configuration.backtrace_formatter.format_backtrace(exit.backtrace || [])
        text = "#{Wire.utf8(example.full_description)}\n#{message}\n#{place.map { |line| "# #{line}" }.join("\n")}\n"
        {
          "message" => named(example, message), "longrepr" => Wire.utf8(text), "when" => "call",
          "location" => line_of(exit) || place(example)
        }
      end

      # Ids of RSpec are numbers: the description comes first.
      def named(example, message)
        "#{Wire.utf8(example.full_description)}: #{Wire.utf8(message)}"[0, LARGEST_MESSAGE]
      end

      # RSpec's own words, as it would print them beneath the number of the failure.
      def text(example)
        notification = RSpec::Core::Notifications::ExampleNotification.for(example)
        text = Wire.utf8(notification.fully_formatted(nil, RSpec::Core::Notifications::NullColorizer))
        text.sub(/\A\n+/, "").gsub(/^  /, "")
      end

      def line_of(exception)
        lines = RSpec.configuration.backtrace_formatter.format_backtrace(exception.backtrace || [])
        found = lines.first.to_s.match(/\A(.+?):(\d+)/)
        found && { "file" => Wire.utf8(found[1]), "line" => found[2].to_i }
      end

      def place(example)
        { "file" => Wire.utf8(example.file_path), "line" => example.metadata[:line_number] || 0 }
      end
    end
  end
end
