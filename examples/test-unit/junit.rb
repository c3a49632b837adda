# test-unit for Remuda: `-r ./junit` writes JUnit to $JUNIT, runs only the tests named in the file $ONLY, and with $LIST
# prints them instead.
require 'rexml/document'
require 'test/unit'
require 'test/unit/testresult'

class JUnitFile
  KINDS = { Test::Unit::Failure => 'failure', Test::Unit::Error => 'error', Test::Unit::Omission => 'skipped', Test::Unit::Pending => 'skipped' }.freeze

  def initialize
    @suite = REXML::Element.new('testsuite')
  end

  def started(test)
    @since = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    @case = @suite.add_element('testcase', 'classname' => test.class.name, 'name' => test.method_name)
  end

  def faulty(fault)
    kind = KINDS.find { |type, _| fault.is_a?(type) }&.last
    @case.add_element(kind, 'message' => fault.message.lines.first.to_s.chomp).text = fault.long_display if kind && @case
  end

  def finished(_test)
    @case.add_attribute('time', (Process.clock_gettime(Process::CLOCK_MONOTONIC) - @since).to_s)
    # written each time, so that a process that ends leaves what it had
    File.open(ENV['JUNIT'], 'w') { |file| REXML::Document.new.tap { |d| d.add_element(@suite.deep_clone) }.write(file) }
  end
end

only = File.readlines(ENV['ONLY'], chomp: true) if ENV['ONLY']
Test::Unit::AutoRunner.setup_option do |runner, _options|
  runner.filters << ->(test) { only.include?("#{test.class.name}##{test.method_name}") } if only
  if ENV['LIST']
    runner.filters << lambda do |test|
      puts "#{test.class.name}##{test.method_name}"
      false
    end
    runner.runner_options[:output_level] = Test::Unit::UI::Console::OutputLevel::SILENT
  end
end

if ENV['JUNIT']
  report = JUnitFile.new
  Test::Unit::TestCase.prepend(Module.new do
    define_method(:run) do |result, **options, &block|
      report.started(self)
      listener = result.add_listener(Test::Unit::TestResult::FAULT) { |fault| report.faulty(fault) }
      super(result, **options, &block).tap do
        result.remove_listener(Test::Unit::TestResult::FAULT, listener)
        report.finished(self)
      end
    end
  end)
end
