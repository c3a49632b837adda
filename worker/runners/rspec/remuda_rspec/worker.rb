# frozen_string_literal: true

# Turns a fork of the loader into the process of one slot, and ends it as a process of its own would end.
#
# Runs once, before the first example; `leave` is its counterpart. Must not run an example.

require_relative "coverage"

module RemudaRspec
  # The process of one slot.
  class Worker
    class << self
      # Ends this process by the signal that RSpec let through.
      def end_by(exception)
        kill_self(exception.signo)
      end

      # Ends this process the way another one ended.
      def end_as(status)
        kill_self(status.termsig) if status.signaled?
        exit!(status.exitstatus || 1)
      end

      private

      def kill_self(signal)
        # What there was to dump has been dumped.
        Process.setrlimit(:CORE, 0, Process.getrlimit(:CORE).last)
        name = Signal.signame(signal)
        trap(name, "SYSTEM_DEFAULT") unless %w[KILL STOP].include?(name)
        Process.kill(signal, Process.pid)
        sleep(1)
      rescue ArgumentError
        # Ruby keeps SEGV, BUS, ILL and FPE for itself.
        exec("/bin/sh", "-c", "kill -#{signal} $$")
      end
    end

    def initialize(suite, number, environment)
      @suite = suite
      @number = number
      @environment = environment
      @handlers = []
    end

    # In a fork.
    def become(capture)
      ENV.update(@environment)
      capture.attach
      keep_exit_handlers
      reseed
      plain_text
    end

    # Without a fork: the loader is the runner.
    def stay(capture)
      ENV.update(@environment)
      capture.attach
      plain_text
    end

    # The end of a fork, or of one of its own that ran a single `example`.
    def leave(example = nil)
      call(@handlers.pop) until @handlers.empty?
      save_coverage(example)
    end

    def save_coverage(example = nil)
      Coverage.save(example ? "slot #{@number}, example #{example}" : "slot #{@number}")
    end

    private

    # One that fails must not keep the others from running.
    def call(handler)
      handler.call
    rescue Exception => error
      STDERR.write(error.full_message(highlight: false))
    end

    # Exit handlers that were there before the fork are the loader's; those of the examples are run by `leave`.
    def keep_exit_handlers
      handlers = @handlers
      verbose = $VERBOSE
      $VERBOSE = nil
      Kernel.define_method(:at_exit) { |&block| handlers.push(block).last }
      Kernel.send(:private, :at_exit)
      Kernel.define_singleton_method(:at_exit) { |&block| handlers.push(block).last }
    ensure
      $VERBOSE = verbose
    end

    # Ruby seeds each fork anew; the numbers of a suite that seeds them follow from its seed and the slot.
    def reseed
      srand(@suite.seed + @number) if @suite.seed
    end

    # What goes into a result has no colours.
    def plain_text
      @suite.config.force(color_mode: :off)
    end
  end
end
