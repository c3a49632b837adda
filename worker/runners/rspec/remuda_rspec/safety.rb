# frozen_string_literal: true

# Notices, up to the end of loading, what makes forking the loader wrong.
#
# A suite must not be forked once somebody has read a variable that differs from slot to slot, has started a thread, or
# has opened a socket: the forks would all share what was meant for one of them.

require "rbconfig"

module RemudaRspec
  # What forbids forking.
  module Safety
    # Different in every slot.
    SLOT_VARIABLES = %w[
      TEST_ENV_NUMBER PYTEST_XDIST_WORKER REMUDA_SLOT REMUDA_DB_PREFIX REMUDA_TASK REMUDA_ATTEMPT REMUDA_OUTPUT
      REMUDA_ARTIFACTS NEXTEST_ATTEMPT NEXTEST_TEST_GLOBAL_SLOT NEXTEST_TEST_GROUP_SLOT
    ].freeze
    SLOT_PREFIX = "REMUDA_POOL_"
    # The same in all slots of a job: a read matters only if the loader was started without them.
    JOB_VARIABLES = %w[PYTEST_XDIST_WORKER_COUNT PYTEST_XDIST_TESTRUNUID REMUDA_SLOT_COUNT NEXTEST_RUN_ID].freeze
    # These ask early which process they are in, and worker.rb tells them later what has changed.
    TRUSTED_READERS = %r{/(?:simplecov|simplecov-html|rspec-core|rspec-support|bundler|parallel_tests)(?:-\d[^/]*)?/}
    # Threads that notice a fork by themselves.
    TRUSTED_THREADS = ["Timeout stdlib thread", "AR Pool Reaper"].freeze
    OWN = File.dirname(File.expand_path(__FILE__)) + File::SEPARATOR
    LIBRARY = RbConfig::CONFIG["rubylibdir"] + File::SEPARATOR

    class << self
      # A loader that will be forked belongs to no slot, even if it was started inside another run's test.
      def forget_slot
        ENV.delete_if { |name, _| SLOT_VARIABLES.include?(name) || name.start_with?(SLOT_PREFIX) }
      end

      def open_sockets
        Dir.children("/proc/self/fd").map { |name| link("/proc/self/fd/#{name}") }.grep(/\Asocket:/)
      end

      private

      def link(path)
        File.readlink(path)
      rescue SystemCallError
        ""
      end
    end

    # Looks from its making until `stop`.
    class Watch
      # Every way to read one variable. Copies of the whole environment are harmless.
      READS = %i[[] fetch key? include? has_key? member? values_at slice assoc].freeze

      def initialize
        @sockets = Safety.open_sockets
        @threads = Thread.list
        watch = self
        @watching = Module.new do
          READS.each do |name|
            define_method(name) do |*keys, &block|
              watch.note(name == :fetch ? keys.take(1) : keys)
              super(*keys, &block)
            end
          end
        end
        ENV.singleton_class.prepend(@watching)
      end

      def stop
        watching = @watching
        READS.each { |name| watching.send(:remove_method, name) }
      end

      def note(keys)
        return if @read

        name = keys.find { |key| key.is_a?(String) && matters?(key) } or return
        reader = caller_locations(2).find { |place| foreign?(place.absolute_path || place.path) }
        @read = [name, "#{reader.path}:#{reader.lineno}"] if reader && !trusted?(reader)
      end

      # The first reason, or nil.
      def why_not_fork
        return "this Ruby cannot fork" unless Process.respond_to?(:fork)
        return "#{@read[1]} read the slot variable #{@read[0]} while the suite was loaded" if @read

        thread = (Thread.list - @threads).find { |one| one.alive? && !trusted_thread?(one) }
        return "the thread #{thread.inspect} was started while the suite was loaded" if thread

        "a socket was opened while the suite was loaded" if (Safety.open_sockets - @sockets).any?
      end

      private

      def matters?(name)
        return true if SLOT_VARIABLES.include?(name) || name.start_with?(SLOT_PREFIX)

        JOB_VARIABLES.include?(name) && ENV.to_h[name].nil?
      end

      def foreign?(path)
        !path.start_with?(OWN) && !path.start_with?("<internal:") && !path.start_with?(LIBRARY)
      end

      # Installed, and not the project's own file in a folder of that name.
      def trusted?(place)
        path = place.absolute_path || place.path
        own = path.start_with?(Dir.pwd + File::SEPARATOR) && !path.include?("/gems/")
        !own && TRUSTED_READERS.match?(path)
      end

      # The one of timeout.rb has no name in Ruby 3.1.
      def trusted_thread?(thread)
        TRUSTED_THREADS.include?(thread.name) || thread.inspect.include?("/timeout.rb:")
      end
    end
  end
end
