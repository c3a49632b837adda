# frozen_string_literal: true

# SimpleCov's part of a slot: each runner saves what it covered under a name of its own, the loader merges and reports.
#
# Does nothing where SimpleCov does not measure. Must not decide what is measured.

module RemudaRspec
  # SimpleCov.
  module Coverage
    # No process has this number, so SimpleCov keeps out of the way of this one.
    NOBODY = -1

    class << self
      # In a runner, at its end. `place` is the name under which SimpleCov keeps it.
      def save(place)
        return unless measuring?

        simplecov = ::SimpleCov
        simplecov.pid = Process.pid
        simplecov.command_name("#{simplecov.command_name} (#{place})")
        simplecov.result
        simplecov.pid = NOBODY
      end

      # In the loader, at the end of all: SimpleCov's report, as text for the summary.
      def report
        return "" unless measuring? && ::SimpleCov.pid == Process.pid && ::SimpleCov.respond_to?(:at_exit_behavior)
        return "" if ::SimpleCov.respond_to?(:external_at_exit?) && ::SimpleCov.external_at_exit?

        text = StringIO.new
        streams = [$stdout, $stderr]
        $stdout = $stderr = text
        exit_quietly { ::SimpleCov.at_exit_behavior }
        ::SimpleCov.pid = NOBODY
        text.string
      ensure
        $stdout, $stderr = streams if streams
      end

      private

      def measuring?
        defined?(::SimpleCov) && ::SimpleCov.respond_to?(:running) && ::SimpleCov.running
      end

      # It exits when the coverage is below the wanted minimum, which its text says.
      def exit_quietly
        yield
      rescue SystemExit
        nil
      end
    end
  end
end
