# Loads every test.
require 'minitest/autorun'
Dir[File.join(__dir__, 'test/*_test.rb')].sort.each { |file| require file }
