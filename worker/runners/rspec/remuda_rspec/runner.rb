# frozen_string_literal: true

# The queue of one slot: takes test numbers from the daemon, runs the examples, reports each at once.
#
# A finished example is on the socket before the next one starts, so a crash can neither lose a result nor be blamed on
# the wrong example. Reads no command line and decides no outcome (outcome.rb does).

require_relative "groups"
require_relative "monitor"
require_relative "outcome"
require_relative "relay"
require_relative "wire"

module RemudaRspec
  # Runs what one slot is given.
  class Runner
    # An example that is slower than this makes the next one worth announcing.
    SLOW = 0.05
    # Hooks that take less are no reason to keep examples together.
    WORTH_PLANNING = 0.001
    # Between short examples the socket is looked at only this often.
    GLANCE = 0.001
    # What examples change of themselves while they run.
    VOLATILE = %i[pending skip].freeze

    # The block ends a process that ran a single example.
    def initialize(suite, connection, page, capture, sink, load, &leave)
      @suite = suite
      @connection = connection
      @reader = Wire::Reader.new(connection)
      @page = page
      @capture = capture
      @sink = sink
      @isolated = load["isolation"] == "test"
      @leave = leave
      @process = Process.pid
      @queue = []
      @last = false
      @announce = true
      @tasks = {}
      @glanced = 0.0
      @wide = []
      @original = {}
      @relay = Relay.new(suite.config, suite.listeners, sink) { |*trouble| on_trouble(*trouble) }
      @groups = Groups.new(@relay) { |seconds| pay("context", seconds) }
    end

    # Until the daemon says `last` (or goes away): runs what is queued, inside the hooks of the whole suite.
    def run
      listen(true) until @queue.any? || @last
      return if @queue.empty?

      @relay.install
      Linux.become_subreaper if @isolated
      start(@queue.first)
      began = RemudaRspec.now
      @suite.config.with_suite_hooks do
        pay("suite", RemudaRspec.now - began)
        @in_suite = true
        RSpec.world.wants_to_quit = false
        work
        @groups.leave_for(nil)
      end
    end

    def done
      Wire.send(@connection, "type" => "done")
    end

    private

    def work
      until @queue.empty? && @last
        now = RemudaRspec.now
        if @queue.empty? || now - @glanced > GLANCE
          @glanced = now
          listen(@queue.empty? && !@last)
        end
        run_next if @queue.any?
      end
    end

    def listen(block)
      @reader.receive(block).each do |message|
        case message["type"]
        when "run"
          @announce ||= @queue.empty?
          @queue.concat(message["tests"])
          @tasks.update(message["tests"].zip(message["of"] || []).to_h)
        when "drop" then drop(message["tests"])
        when "last" then @last = true
        end
      end
      # The daemon is gone: nobody would hear the results.
      exit!(1) if @reader.closed
    end

    def drop(unwanted)
      dropped, @queue = @queue.partition { |number| unwanted.include?(number) }
      Wire.send(@connection, "type" => "dropped", "tests" => dropped)
    end

    def run_next
      number = @queue.shift
      return run_in_fork(number) if @isolated

      run_here(number) { @queue.any? || @last }
      @before = number
    end

    # Tells what runs now; the first example was announced before the hooks of the suite.
    def start(number)
      return if @started == number

      @started = number
      @page.write(number)
      Wire.send(@connection, "type" => "started", "test" => number) if @announce
    end

    # The block says whether it is known what comes next.
    def run_here(number)
      example = @suite.examples[number]
      start(number)
      ENV["REMUDA_TASK"], ENV["REMUDA_ATTEMPT"] = (@tasks.delete(number) || []).map(&:to_s)
      times = [RemudaRspec.now]
      blocked = @suite_trouble || @groups.enter(example.example_group)
      times << RemudaRspec.now
      trouble = attempt(example, blocked)
      # An example forked and let its child return into RSpec: that child has no say here.
      exit!(1) if Process.pid != @process
      times << RemudaRspec.now
      leave if yield
      times << RemudaRspec.now
      report(number, example, times, trouble)
    end

    # After(:context) hooks of groups that are over belong to the example that was the last in them.
    def leave
      @groups.leave_for(@queue.any? ? @suite.examples[@queue.first].example_group : nil)
    end

    # Runs one example; what kept it from running or ended it, or nil.
    def attempt(example, blocked)
      refresh(example)
      if blocked.nil?
        group = example.example_group
        instance = group.new(example.inspect_output)
        group.set_ivars(instance, group.before_context_ivars)
        example.run(instance, @relay)
      elsif blocked.skip?
        example.skip_with_exception(@relay, blocked.exception)
      else
        example.fail_with_exception(@relay, blocked.exception)
      end
      blocked
    rescue SystemExit => error
      error
    end

    # An example may come again: as a retry.
    def refresh(example)
      metadata = example.metadata
      if (original = @original[example])
        VOLATILE.each { |key| original.key?(key) ? metadata[key] = original[key] : metadata.delete(key) }
        metadata[:execution_result] = RSpec::Core::Example::ExecutionResult.new
        example.instance_variable_set(:@exception, nil)
      else
        @original[example] = metadata.slice(*VOLATILE)
      end
    end

    def report(number, example, times, trouble)
      us = times.each_cons(2).map { |from, to| ((to - from) * 1e6).to_i }
      sections = @capture.take
      said = @relay.take_said
      sections << ["rspec", Wire.utf8(said)] if said
      if trouble.nil? && sections.empty? && @wide.empty? && example.execution_result.status == :passed
        Wire.send_body(@connection, Outcome.passed(number, example, us))
      else
        Wire.send(@connection, Outcome.result(number, example, us, @wide, sections, trouble))
      end
      @wide = []
      @announce = @queue.empty? || times[3] - times[0] > SLOW
      @sink.example(number, example, trouble)
      @page.clear
      @started = nil
      stop(trouble) if trouble.is_a?(SystemExit) || RSpec.world.wants_to_quit
    end

    # RSpec alone would end its run here.
    def stop(trouble)
      RSpec.world.wants_to_quit = false
      code = trouble.is_a?(SystemExit) ? trouble.status : nil
      Wire.send(@connection, "type" => "stop", "reason" => trouble ? "exit" : "RSpec was told to quit", "exit" => code)
    end

    def pay(scope, seconds)
      @wide << [scope, (seconds * 1e6).to_i] if seconds >= WORTH_PLANNING
    end

    # An error outside of examples: before the first one it is why none can run, later it is told at once.
    def on_trouble(exception, description, text)
      return @suite_trouble ||= Groups::Blocked.new(nil, exception) unless @in_suite

      hook = description[/`(.+?)`/, 1] || "RSpec"
      hook = "#{hook} of #{@groups.leaving.metadata[:full_description]}" if @groups.leaving
      sections = @started ? [] : @capture.take
      detail = { "message" => Outcome.message(exception), "longrepr" => Wire.utf8(text).strip, "when" => "teardown" }
      detail["sections"] = sections unless sections.empty?
      scope = description.include?(":suite") ? "suite" : "context"
      Wire.send(@connection, "type" => "late", "fixture" => Wire.utf8(hook), "scope" => scope,
                             "after" => @started || @before || 0, "detail" => detail)
    end

    # One process for one example with all its groups; a crash of it is a crash of this runner.
    def run_in_fork(number)
      [STDOUT, STDERR].each(&:flush)
      pid = FORK.call do
        Monitor.leave_group
        @process = Process.pid
        srand(@suite.seed + number) if @suite.seed
        run_here(number) { @queue.clear || true }
        @leave&.call(number)
        exit!(0)
      rescue SignalException => error
        Worker.end_by(error)
      rescue Exception => error
        STDERR.write(error.full_message(highlight: false))
        STDERR.flush
        exit!(1)
      end
      _, status = Process.wait2(pid)
      Monitor.kill_left_overs
      Worker.end_as(status) if @page.read || !status.success?
      @announce = @queue.empty?
      @started = nil
      @before = number
    end
  end
end
