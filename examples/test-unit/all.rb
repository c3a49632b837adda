# Loads every test.
require 'test/unit'
Dir[File.join(__dir__, 'test/*_test.rb')].sort.each { |file| require file }
