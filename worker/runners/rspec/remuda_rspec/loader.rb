# frozen_string_literal: true

# Configures RSpec with the user's own arguments, loads the suite and tells the daemon how that, or the session, ended.
#
# Where it waits in between is host.rb. Must not run an example.

require_relative "wire"
require_relative "kernel"
require_relative "messages"
require_relative "safety"
require_relative "suite"
require_relative "host"

module RemudaRspec
  # The loader of one host, or of one slot.
  class Loader
    OLDEST = "3.9"
    NOTHING_FOUND = 5
    USAGE = 4
    LARGEST_OUTPUT = 16 << 20
    # Our own lines are no part of a backtrace.
    OWN = File.dirname(__dir__) + File::SEPARATOR

    def initialize(control, load)
      @control = control
      @load = load
      @messages = Messages.new
    end

    def run
      Linux.name_process("remuda-loader")
      Wire.send(@control, Wire.introduction(RSpec::Core::Version::STRING))
      version = RSpec::Core::Version::STRING
      return fail_with("rspec-core #{version} is too old: Remuda needs #{OLDEST} or newer", 1) if too_old?(version)

      Safety.forget_slot unless @load["fork"] == "never"
      runner = load_suite
      serve(runner) if runner
    end

    private

    def too_old?(version)
      Gem::Version.new(version) < Gem::Version.new(OLDEST)
    end

    # The runner of RSpec, ready to run; nil after a failure that was told.
    def load_suite
      @watch = Safety::Watch.new
      @seed = Random.seed
      RSpec::Core::Runner.trap_interrupt
      @messages.intercept(RSpec.configuration)
      options = read_options or return
      return answer(options) if options.options[:runner]

      runner = RSpec::Core::Runner.new(options)
      set_up(runner)
      runner.configuration.backtrace_exclusion_patterns << /\A#{Regexp.escape(OWN)}/
      if RSpec.world.wants_to_quit
        return fail_with(@messages.headline || "RSpec was told to quit", Suite.exit_code(runner, false))
      end
      return fail_with("no examples found", NOTHING_FOUND) if RSpec.world.example_count.zero?

      runner
    end

    def set_up(runner)
      runner.setup($stderr, @messages.out)
    rescue SystemExit => error
      # A file of the suite has exited.
      @messages.out.puts(error.message) unless error.message == "exit"
      fail_with(@messages.headline || @messages.first_line, error.status.zero? ? 1 : error.status)
    end

    # RSpec aborts at an option that it does not know.
    def read_options
      RSpec::Core::ConfigurationOptions.new(ARGV)
    rescue SystemExit => error
      @messages.out.puts(error.message)
      fail_with(error.message.lines.first.to_s.strip, USAGE)
    end

    # RSpec answers by itself: --version, --help, --init.
    def answer(options)
      code = options.options[:runner].call(options, @messages.out, @messages.out).to_i
      fail_with("RSpec ran no examples", code)
    end

    def fail_with(message, code)
      output = @messages.text
      output = output[-LARGEST_OUTPUT..-1] if output.size > LARGEST_OUTPUT
      Wire.send(@control, Wire.failure(message, code, output))
      exit(code.zero? ? 0 : 1)
    end

    def serve(runner)
      suite = Suite.new(runner, @messages, why_not_fork, Random.seed == @seed ? nil : Random.seed)
      @watch.stop
      host = Host.new(@control, @load, suite)
      host.listen if suite.why_not_fork
      tell(suite, host.controller)
      Process.respond_to?(:warmup) ? Process.warmup : GC.start
      host.wait
      code, summary = @load["controller"] ? [0, ""] : suite.finish
      Wire.send(@control, "type" => "finished", "summary" => Wire.utf8(summary), "exit" => code)
      exit(code)
    end

    def why_not_fork
      case @load["fork"]
      when "never" then "the job asks for no forks"
      when "always" then nil
      else @watch.why_not_fork
      end
    end

    def tell(suite, controller)
      suite.manifest_parts.each { |part| Wire.send(@control, part) }
      all = RSpec.world.all_examples.size
      message = {
        "type" => "manifest_done", "count" => suite.examples.size, "deselected" => all - suite.examples.size,
        "fork" => suite.why_not_fork.nil?, "why" => suite.why_not_fork, "options" => suite.options
      }
      message["controller"] = controller.address if controller
      Wire.send(@control, message)
    end
  end
end
