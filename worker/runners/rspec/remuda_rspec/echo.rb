# frozen_string_literal: true

# Exceptions as plain data, and what looks like them for formatters in another process.
#
# Marshal would take along whatever an exception holds. Must not need the class that a test defined by itself.

require_relative "wire"

module RemudaRspec
  # Exceptions on their way.
  module Echo
    DEEPEST = 8
    TAG = RSpec::Core::MultipleExceptionError::InterfaceTag

    class << self
      # Its message; some raise when they are asked for it.
      def message(exception)
        Wire.utf8(exception.message)
      rescue StandardError => error
        "a #{exception.class} whose message raises #{error.class}"
      end

      def pack(exception, depth = 0)
        packed = {
          "class" => Wire.utf8(exception.class.name), "message" => message(exception),
          "backtrace" => exception.backtrace&.map { |line| Wire.utf8(line) }
        }
        packed["several"] = several(exception, depth) if TAG === exception
        packed["cause"] = pack(exception.cause, depth + 1) if exception.cause && depth < DEEPEST
        packed.compact
      end

      def unpack(packed)
        return nil unless packed

        several = packed["several"]
        found = several ? multiple(several) : single(packed["class"], packed["message"])
        found.set_backtrace(packed["backtrace"]) if packed["backtrace"]
        message = packed["message"]
        cause = unpack(packed["cause"])
        found.define_singleton_method(:message) { message }
        found.define_singleton_method(:to_s) { message }
        found.define_singleton_method(:detailed_message) { |*| message }
        found.define_singleton_method(:cause) { cause }
        found
      end

      private

      def several(exception, depth)
        {
          "all" => depth < DEEPEST ? exception.all_exceptions.map { |one| pack(one, depth + 1) } : [],
          "summary" => Wire.utf8(exception.summary), "count" => Wire.utf8(exception.exception_count_description),
          "hide_backtrace" => exception.aggregation_metadata[:hide_backtrace]
        }
      end

      def multiple(several)
        found = RSpec::Core::MultipleExceptionError.new(*several["all"].map { |one| unpack(one) })
        metadata = { hide_backtrace: several["hide_backtrace"] }
        found.define_singleton_method(:summary) { several["summary"] }
        found.define_singleton_method(:exception_count_description) { several["count"] }
        found.define_singleton_method(:aggregation_metadata) { metadata }
        found
      end

      def single(name, message)
        known = name.empty? ? nil : Object.const_get(name)
        return known.allocate.exception(message) if known.is_a?(Class) && known <= Exception

        stranger(name)
      rescue StandardError
        stranger(name)
      end

      # A class that only the test knew.
      def stranger(name)
        Class.new(StandardError) { define_singleton_method(:name) { name.empty? ? nil : name } }.new
      end
    end
  end
end
