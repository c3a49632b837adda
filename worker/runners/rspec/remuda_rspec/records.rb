# frozen_string_literal: true

# Results on their way from a runner to the formatters of the loader: plain data, one record for each example.
#
# Only what somebody in the loader wants is sent. Deprecations and errors outside of examples always are.

require_relative "echo"
require_relative "wire"

module RemudaRspec
  # Records and their ways.
  module Records
    def self.of(number, example, trouble)
      result = example.execution_result
      exception = trouble.is_a?(SystemExit) ? trouble : result.exception || result.pending_exception
      {
        "n" => number, "status" => trouble.is_a?(SystemExit) ? "failed" : result.status.to_s,
        "run_time" => result.run_time, "started_at" => result.started_at&.to_f,
        "pending_message" => result.pending_message && Wire.utf8(result.pending_message),
        "pending_fixed" => result.pending_fixed, "exception" => exception && Echo.pack(exception),
        "description" => Wire.utf8(example.metadata[:description]),
        "full_description" => Wire.utf8(example.metadata[:full_description])
      }.compact
    end

    # What a runner tells: everything if somebody wants it, else only that an example failed.
    class Sink
      def initialize(wanted)
        @wanted = wanted
      end

      def example(number, example, trouble)
        if @wanted then put(Records.of(number, example, trouble))
        elsif trouble.is_a?(SystemExit) || example.execution_result.status == :failed then put("failed" => number)
        end
      end
    end

    # Through a pipe or a socket.
    class Sender < Sink
      def initialize(stream, wanted)
        super(wanted)
        @stream = stream
      end

      def put(record)
        Wire.send(@stream, record)
      end
    end

    # Without any way: the runner is the loader.
    class Local < Sink
      def initialize(suite)
        super(suite.wants_records)
        @suite = suite
      end

      def put(record)
        @suite.record(record)
      end
    end
  end
end
