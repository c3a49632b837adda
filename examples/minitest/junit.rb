# Minitest for Remuda: `-r ./junit` writes JUnit to $JUNIT; with $LIST set the tests are printed and none is run.
require 'minitest'
require 'rexml/document'

class JUnitReporter < Minitest::AbstractReporter
  def initialize(path)
    super()
    @path = path
    @results = []
  end

  def record(result)
    @results << result
  end

  def report
    suite = REXML::Element.new('testsuite')
    @results.each do |result|
      test = suite.add_element('testcase', 'classname' => result.klass, 'name' => result.name, 'time' => result.time.to_s)
      # the worst of what went wrong comes first: a test can fail and its teardown, too
      failure = result.failures.find { |f| f.is_a?(Minitest::UnexpectedError) } || result.failure
      next unless failure

      kind = result.skipped? ? 'skipped' : failure.is_a?(Minitest::UnexpectedError) ? 'error' : 'failure'
      test.add_element(kind, 'message' => failure.message.lines.first.to_s.chomp).text = "#{failure.message}\n#{failure.location}"
    end
    File.open(@path, 'w') { |file| REXML::Document.new.tap { |d| d.add_element(suite) }.write(file) }
  end
end

module Minitest
  extensions << 'remuda'

  def self.plugin_remuda_init(_options)
    reporter << JUnitReporter.new(ENV['JUNIT']) if ENV['JUNIT']
  end

  if ENV['LIST']
    def self.run(*)
      self.seed = 0 # only the order depends on it
      Runnable.runnables.each { |suite| suite.runnable_methods.each { |test| puts "#{suite}##{test}" } }
      true
    end
  end
end
