# frozen_string_literal: true

# Nameless files that the loader makes and its forks inherit: shared memory for a language that has none.
#
# Must not be used for what has to survive the process.

module RemudaRspec
  # Nameless files.
  module Scratch
    OPEN = File.method(:open)
    UNLINK = File.method(:unlink)

    class << self
      def file(more = 0)
        @count = (@count || 0) + 1
        name = "remuda-rspec-#{Process.pid}-#{@count}-#{(RemudaRspec.now * 1e9).to_i}"
        path = File.join(ENV["TMPDIR"] || "/tmp", name)
        opened = OPEN.call(path, File::RDWR | File::CREAT | File::EXCL | more, 0o600)
        UNLINK.call(path)
        opened.binmode
      end
    end

    # The test that a runner is in, readable after its death.
    class Page
      def initialize
        @file = Scratch.file
      end

      def write(number)
        @file.pwrite([number + 1].pack("q"), 0)
      end

      def clear
        write(-1)
      end

      # Nil between tests.
      def read
        return nil if @file.stat.size.zero?

        number = @file.pread(8, 0).unpack1("q")
        number.zero? ? nil : number - 1
      end
    end
  end
end
