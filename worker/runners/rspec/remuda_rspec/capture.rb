# frozen_string_literal: true

# What an example and everything it starts print: descriptors 1 and 2 of a runner are two nameless files.
#
# Files, because they neither block a child that prints nor mix one example's words with the next one's. What a runner
# that died has left in them is copied to the descriptors of the daemon by the loader.

require_relative "scratch"
require_relative "wire"

module RemudaRspec
  # The two files.
  class Capture
    LARGEST_SECTION = 1 << 20
    LARGEST_REST = 64 << 10
    # What Ruby tells of a segmentation fault ends with the names of all it had loaded, and maps of its memory.
    INVENTORY = /^-- Other runtime information -+\n.*/m

    def initialize
      @files = { "stdout" => Scratch.file(File::APPEND), "stderr" => Scratch.file(File::APPEND) }
    end

    # In the runner: print here from now on.
    def attach
      flush
      STDOUT.reopen(@files["stdout"])
      STDERR.reopen(@files["stderr"])
      # The last words of a crash must not die with it.
      STDOUT.sync = true
    end

    # [title, text] of what was printed since the last call.
    def take
      flush
      @files.map do |title, file|
        size = file.stat.size
        next if size.zero?

        text = middle_out(file, size, LARGEST_SECTION / 4, LARGEST_SECTION)
        file.truncate(0)
        [title, Wire.utf8(text)]
      end.compact
    end

    # In the loader: what a dead runner has left, for the daemon.
    def pour_into(out, err)
      [[@files["stdout"], out], [@files["stderr"], err]].each do |file, target|
        size = file.stat.size
        rest = middle_out(file, size, LARGEST_REST / 2, LARGEST_REST)
        target.write(rest.b.sub(INVENTORY, "[... what Ruby had loaded is left out ...]\n"))
        target.flush
      end
    rescue SystemCallError, IOError
      # The daemon is gone, or does not want it.
    end

    private

    def middle_out(file, size, head, largest)
      return file.pread(size, 0) if size <= largest

      tail = largest - head
      "#{file.pread(head, 0)}\n[... #{size - largest} bytes left out ...]\n#{file.pread(tail, size - tail)}"
    end

    def flush
      STDOUT.flush
      STDERR.flush
    rescue SystemCallError, IOError
      # The suite has closed it.
    end
  end
end
