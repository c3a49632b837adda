# frozen_string_literal: true

# What the runners recorded, told to the loader's own formatters: in RSpec's order, group by group, as if it had run
# here. So `--format`, `--out`, `--profile`, `--only-failures` and formatters of the user's own cover all runners.
#
# Must not run before the last runner has ended.

require_relative "coverage"
require_relative "echo"

module RemudaRspec
  # The formatters' view of the session.
  class Replay
    # Formatters that need no results.
    CONTENT = [
      "RemudaRspec::Quiet", "RSpec::Core::Formatters::DeprecationFormatter",
      "RSpec::Core::Formatters::FallbackMessageFormatter"
    ].freeze
    LIVE = %i[
      example_started example_finished example_passed example_failed example_pending
      example_group_started example_group_finished message
    ].freeze

    def initialize(runner, manifest, messages)
      @runner = runner
      @config = runner.configuration
      @manifest = manifest
      @messages = messages
      @began = RSpec::Core::Time.now
      @records = {}
      @deprecations = []
      @troubles = []
      @config.reporter.send(:ensure_listeners_ready)
      @formatters = @config.formatters
    end

    def wanted?
      @formatters.any? { |one| !CONTENT.include?(one.class.name) } || @config.profile_examples? ||
        !@config.example_status_persistence_file_path.nil?
    end

    # Event -> listeners that are no formatters.
    def live_listeners
      reporter = @config.formatter_loader.reporter
      LIVE.to_h do |event|
        [event, reporter.registered_listeners(event).reject { |one| formatter?(one) }]
      end
    end

    def add(record)
      if record.key?("n") then @records[record["n"]] = record
      elsif record.key?("failed") then @failed = true
      elsif record.key?("deprecation") then @deprecations << record["deprecation"]
      else @troubles << record["trouble"]
      end
    end

    # An example that took its runner with it has failed, also for the formatters.
    def add_crash(number, status)
      signal = status & 0x7f
      how = signal.zero? ? "exit code #{(status >> 8) & 0xff}" : "killed by SIG#{Signal.signame(signal)}"
      message = "the example ended its process: #{how}"
      exception = { "class" => "RuntimeError", "message" => message, "backtrace" => [] }
      add("n" => number, "status" => "failed", "run_time" => 0.0, "exception" => exception)
    end

    # Tells everything; RSpec's exit code.
    def play
      reporter = @config.formatter_loader.reporter
      @config.instance_variable_set(:@reporter, reporter)
      forget_live_listeners(reporter)
      reporter.start(@records.size, @began)
      @deprecations.each { |one| reporter.deprecation(one.transform_keys(&:to_sym)) }
      @manifest.nodes.each { |node| play_node(node, reporter) }
      tell_troubles(reporter)
      time_groups(reporter)
      say(Coverage.report)
      reporter.finish
      @runner.send(:persist_example_statuses)
      Suite.exit_code(@runner, !@failed && @records.each_value.none? { |record| record["status"] == "failed" })
    end

    private

    def formatter?(listener)
      @formatters.include?(listener) || listener.is_a?(RSpec::Core::Profiler)
    end

    # They have seen the examples where these ran.
    def forget_live_listeners(reporter)
      listeners = reporter.instance_variable_get(:@listeners)
      LIVE.each { |event| live_listeners[event].each { |one| listeners[event].delete(one) } }
    end

    def play_node(node, reporter)
      numbers = node_numbers(node)
      return unless any?(node)

      reporter.example_group_started(node.group)
      node.examples.zip(numbers) { |example, number| play_example(example, @records[number], reporter) }
      node.children.each { |child| play_node(child, reporter) }
      reporter.example_group_finished(node.group)
    end

    def any?(node)
      node_numbers(node).any? { |number| @records.key?(number) } || node.children.any? { |child| any?(child) }
    end

    def node_numbers(node)
      @numbers ||= @manifest.examples.each_with_index.to_h.compare_by_identity
      node.examples.map { |example| @numbers[example] }
    end

    def play_example(example, record, reporter)
      return unless record

      apply(example, record)
      reporter.example_started(example)
      reporter.example_finished(example)
      reporter.public_send("example_#{record["status"]}", example)
    end

    def apply(example, record)
      status = record["status"].to_sym
      exception = Echo.unpack(record["exception"])
      result = RSpec::Core::Example::ExecutionResult.new
      result.status = status
      result.run_time = record["run_time"] || 0.0
      result.started_at = ::Time.at(record["started_at"] || 0)
      result.finished_at = result.started_at + result.run_time
      result.pending_message = record["pending_message"]
      result.pending_fixed = record["pending_fixed"]
      status == :pending ? result.pending_exception = exception : result.exception = exception
      example.metadata[:execution_result] = result
      example.instance_variable_set(:@exception, status == :failed ? exception : nil)
      describe(example, record)
    end

    # Descriptions of one-liners are known only after they ran.
    def describe(example, record)
      example.metadata[:description] = record["description"] if record["description"]
      example.metadata[:full_description] = record["full_description"] if record["full_description"]
    end

    # They count as RSpec counts them; the daemon tells them by itself, formatters of the user's own only here.
    def tell_troubles(reporter)
      return if @troubles.empty?

      RSpec.world.non_example_failure = true
      count = reporter.instance_variable_get(:@non_example_exception_count)
      reporter.instance_variable_set(:@non_example_exception_count, count + @troubles.size)
      @troubles.each { |text| reporter.message(text) } if wanted?
    end

    # Replayed groups took no time: their examples did.
    def time_groups(reporter)
      groups = reporter.instance_variable_get(:@profiler).example_groups
      groups.each do |group, data|
        data[:total_time] = group.descendant_filtered_examples.sum { |one| one.execution_result.run_time || 0.0 }
      end
    end

    def say(text)
      @messages.out.puts(text) unless text.empty?
    end
  end
end
