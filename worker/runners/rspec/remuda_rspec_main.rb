# frozen_string_literal: true

# Entry of the RSpec runner: runs the script that the user typed (`rspec`, a binstub) with RSpec's own entry replaced.
#
# Started by the worker as `RUBY .../remuda_rspec_main.rb SCRIPT` with REMUDA_RUNNER_FD and REMUDA_LOAD in the
# environment. It must load nothing that a Gemfile may pin (json, for one) before the script had its chance.

require_relative "remuda_rspec/entry"

RemudaRspec::Entry.main(ARGV.shift)
