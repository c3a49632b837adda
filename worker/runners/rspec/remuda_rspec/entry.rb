# frozen_string_literal: true

# Makes the process look like the user's `rspec` and takes over where that script hands over to RSpec.
#
# The script itself is loaded, so that RubyGems, Bundler and binstubs choose the gems they always choose. Loads no
# other file of ours before RSpec is there; must not know what a test is.

# Remuda's RSpec runner: load the suite once, fork a runner for each slot, stream the results.
#
# The contract is docs/runner-protocol.md. Who does what, from the outside in:
#
#   entry.rb     looks like `rspec`, up to RSpec's own entry
#   loader.rb    configures RSpec and loads the suite, tells how that or the session ended
#   messages.rb  what RSpec says outside of examples, kept for the daemon instead of a terminal
#   manifest.rb  loaded examples, in RSpec's order -> manifest entries
#   safety.rb    notices what forbids forking (slot variables read, threads, sockets)
#   host.rb      the wait for the daemon: forks runners, forwards how they end
#   slot.rb      one runner as its loader sees it
#   monitor.rb   the process between loader and runner: nothing a test started outlives its runner
#   kernel.rb    the few Linux calls that Ruby has no method for
#   worker.rb    turns a fork of the loader into the process of one slot, and ends it
#   runner.rb    the queue of one slot: runs examples, reports each before the next one starts
#   groups.rb    which groups are entered: their context hooks
#   relay.rb     the reporter that examples of a runner speak to
#   outcome.rb   an example that ran -> one result message
#   capture.rb   what an example prints
#   scratch.rb   nameless files that loader, monitor and runner share
#   records.rb   results on their way to the loader's formatters
#   replay.rb    the loader's formatters, fed in RSpec's order
#   echo.rb      exceptions on that way
#   coverage.rb  SimpleCov's part of a slot
#   upstream.rb  without forks: the first loader as controller of one loader per slot
#   wire.rb      frames, descriptors
#
# Standard library and rspec-core only; Ruby 2.7 and rspec-core 3.9 are the oldest that must work.
module RemudaRspec
  VERSION = "0.1.0"
  # The suite may replace these later.
  FORK = Process.method(:fork)
  CLOCK = Process.method(:clock_gettime)

  def self.now
    CLOCK.call(Process::CLOCK_MONOTONIC)
  end

  # The way in.
  module Entry
    # Stands before RSpec::Core::Runner.invoke, which every script that starts RSpec calls.
    module Invoke
      def invoke
        disable_autorun!
        Entry.take_over
      end
    end

    class << self
      def main(script)
        @load = ENV.delete("REMUDA_LOAD")
        @descriptor = Integer(ENV.delete("REMUDA_RUNNER_FD"))
        # A binstub must not hand the suite over to a server.
        ENV["DISABLE_SPRING"] = "1"
        stand_in_the_way
        path = find(script)
        $PROGRAM_NAME = path
        load path
        give_up("#{script} ended without starting RSpec", "")
      rescue ScriptError, StandardError => error
        give_up("#{error.class}: #{error.message.lines.first.to_s.strip}", error.full_message(highlight: false))
      end

      # RSpec is loaded, whatever way that took.
      def take_over
        require_relative "loader"
        settings = JSON.parse(@load)
        ARGV.replace(settings.fetch("args"))
        Loader.new(Wire.connect(@descriptor), settings).run
      end

      private

      def stand_in_the_way
        Object.const_set(:RSpec, Module.new) unless defined?(::RSpec)
        ::RSpec.const_set(:Core, Module.new) unless ::RSpec.const_defined?(:Core, false)
        ::RSpec::Core.const_set(:Runner, Class.new) unless ::RSpec::Core.const_defined?(:Runner, false)
        ::RSpec::Core::Runner.singleton_class.prepend(Invoke)
      end

      def find(script)
        return File.expand_path(script) if script.include?("/")
        return Gem.bin_path("rspec-core", script) if defined?(::Bundler) && ENV["BUNDLE_GEMFILE"]

        folders = ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)
        folders.map { |folder| File.join(folder, script) }.find { |path| ruby?(path) } ||
          Gem.bin_path("rspec-core", script)
      end

      # A version manager's shim is no Ruby.
      def ruby?(path)
        File.file?(path) && File.open(path, "rb") { |file| file.gets.to_s.match?(/\A#!.*ruby/) }
      end

      # RSpec could not even be started.
      def give_up(message, output)
        require_relative "wire"
        control = Wire.connect(@descriptor)
        Wire.send(control, Wire.introduction("none"))
        Wire.send(control, Wire.failure(message, 1, output))
        exit!(1)
      end
    end
  end
end
