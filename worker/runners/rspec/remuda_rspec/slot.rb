# frozen_string_literal: true

# One runner as its loader sees it: its monitor, the pipes to both, and what it was doing.
#
# Forks the pair and reads from it; what follows from that is the host's business (host.rb).

require_relative "capture"
require_relative "monitor"
require_relative "scratch"
require_relative "wire"

module RemudaRspec
  # A monitor, its runner and the pipes to both.
  class Slot
    attr_reader :slot, :number, :monitor, :runner, :status, :channel, :records, :page

    def initialize(slot, number)
      @slot = slot
      @number = number
      @page = Scratch::Page.new
      @capture = Capture.new
      @heard = String.new(encoding: Encoding::BINARY)
      @decoder = Wire::Decoder.new
    end

    # The loader itself is the runner.
    def sit_in_loader
      @monitor = @runner = Process.pid
      @capture
    end

    # Forks monitor and runner. `in_fork` is called in both, to let go of what is the loader's; the block is the runner.
    def start(descriptors, in_fork, &run)
      @channel, theirs = UNIXSocket.pair
      @records, write_records = IO.pipe(binmode: true)
      @stdio = descriptors.last(2).map(&:dup)
      [STDOUT, STDERR].each(&:flush)
      @monitor = FORK.call do
        in_fork.call
        close
        supervise(theirs, descriptors, write_records, run)
      end
      [theirs, write_records].each(&:close)
    end

    # Reads what the monitor says: true when the runner became known, :ended when the monitor has ended.
    def hear_monitor
      bytes = @channel.read_nonblock(4096, exception: false)
      return nil if bytes == :wait_readable
      return :ended if bytes.nil?

      @heard << bytes
      known = @runner.nil?
      while @heard.bytesize >= Monitor::STATUS_BYTES
        pid, status = @heard.slice!(0, Monitor::STATUS_BYTES).unpack(Monitor::STATUS)
        @runner.nil? ? @runner = pid : @status = status
      end
      known && !@runner.nil?
    rescue SystemCallError
      :ended
    end

    # What the runner has recorded; nil at the end.
    def hear_records
      return nil if @records.closed?

      bytes = @records.read_nonblock(Wire::CHUNK, exception: false)
      return [] if bytes == :wait_readable

      if bytes.nil?
        @records.close
        return nil
      end
      @decoder.add(bytes)
      @decoder.messages
    end

    # The monitor has ended: reaps it, and hands over what a runner that died under a test has printed.
    def bury
      @channel.close
      _, status = Process.wait2(@monitor)
      # Without a word from the monitor it was killed itself.
      @status ||= status.to_i.zero? ? Signal.list.fetch("KILL") : status.to_i
      @capture.pour_into(*@stdio) if @page.read
    end

    def close
      [@channel, @records, *@stdio].compact.each { |pipe| pipe.close unless pipe.closed? }
    end

    private

    # In the monitor; never returns.
    def supervise(channel, descriptors, write_records, run)
      Linux.name_process("remuda-monitor")
      Monitor.leave_group
      Linux.become_subreaper
      pid = FORK.call do
        channel.close
        Monitor.leave_group
        Linux.die_with_parent
        run.call(@capture, write_records)
      end
      [*descriptors, write_records].each(&:close)
      Monitor.new(channel, pid).watch
    rescue Exception => error
      warn error.full_message(highlight: false)
    ensure
      STDERR.flush
      exit!(0)
    end
  end
end
