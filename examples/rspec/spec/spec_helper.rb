# frozen_string_literal: true

require "tmpdir"
require_relative "../lib/ledger"
Dir[File.join(__dir__, "support", "*.rb")].sort.each { |file| require file }

RSpec.configure do |config|
  config.filter_run_excluding :hang unless config.inclusion_filter[:hang]
  # One folder a process: TEST_ENV_NUMBER is another one in every slot.
  config.before(:suite) { $folder = Dir.mktmpdir("ledgers-#{ENV["TEST_ENV_NUMBER"]}-") }
  config.after(:suite) { FileUtils.remove_entry($folder) }
end
