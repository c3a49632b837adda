# frozen_string_literal: true

# The loader's wait for the daemon: forks runners on request, forwards how they end, ends the session.
#
# One `select` over the control socket and the pipes of each runner. No runner can block it: it never waits for one
# and reads only what is there. It must not run an example, except when forking is forbidden and the loader itself
# becomes the runner.

require_relative "records"
require_relative "runner"
require_relative "slot"
require_relative "upstream"
require_relative "worker"

module RemudaRspec
  # From the manifest until the daemon says `finish`.
  class Host
    # How long records of runners may gather before the loader reads them.
    REST = 0.002

    attr_reader :controller

    def initialize(control, load, suite)
      @control = control
      @reader = Wire::Reader.new(control)
      @load = load
      @suite = suite
      @slots = []
      @ending = false
      @upstream = Upstream.connect(load) if load["controller"]
    end

    # An address for the loaders of slots, when this one must not be forked.
    def listen
      @controller = Upstream::Listener.new { |record| @suite.record(record) } unless @upstream
    end

    def wait
      until @ending && @slots.empty?
        ready, = IO.select(sources)
        ready.each { |source| hear(source) }
        sleep(REST) if @slots.any?
      end
      @controller&.drain
    end

    private

    def sources
      pipes = @slots.flat_map { |slot| [slot.channel, slot.records] }.reject(&:closed?)
      [@control, *pipes, *@controller&.sources]
    end

    def hear(source)
      return hear_daemon if source.equal?(@control)
      return @controller.hear(source) if @controller&.sources&.include?(source)

      slot = @slots.find { |one| one.channel.equal?(source) || one.records.equal?(source) }
      return unless slot

      slot.channel.equal?(source) ? hear_monitor(slot) : hear_records(slot)
    end

    def hear_daemon
      @reader.receive(false).each do |message|
        case message["type"]
        when "fork" then fork_runner(message, @reader.descriptors.shift(3))
        when "finish" then @ending = true
        end
      end
      abandon if @reader.closed
    end

    # The daemon is gone: ends every tree, then this process. Monitors see the end of file.
    def abandon
      @slots.each(&:close)
      @slots.each { |slot| Process.wait(slot.monitor) }
    rescue SystemCallError
      nil
    ensure
      exit!(1)
    end

    def fork_runner(message, descriptors)
      slot = Slot.new(message["slot"], message["number"])
      return become_runner(slot, message, descriptors) if @suite.why_not_fork

      slot.start(descriptors, -> { let_go }) do |capture, records|
        in_runner(slot, message, descriptors, capture, records)
      end
      @slots << slot
    rescue SystemCallError, NotImplementedError => error
      tell_exited(slot, 1 << 8, "the fork failed: #{error.class}: #{error.message}")
    ensure
      descriptors.each { |descriptor| descriptor.close unless descriptor.closed? }
    end

    # A fork must hold neither the control socket nor the pipes of other runners.
    def let_go
      @control.close
      @reader.descriptors.each(&:close)
      @slots.each(&:close)
    end

    # The grandchild; never returns.
    def in_runner(slot, message, descriptors, capture, records)
      code = 1
      connection = Wire.copy_of(descriptors.shift)
      descriptors.each(&:close)
      Linux.name_process("remuda-gw#{slot.number}")
      worker = Worker.new(@suite, message["number"], message["env"])
      worker.become(capture)
      sender = Records::Sender.new(records, @suite.wants_records)
      runner = Runner.new(@suite, connection, slot.page, capture, sender, @load) { |example| worker.leave(example) }
      runner.run
      worker.leave
      runner.done
      code = 0
    rescue SystemExit => error
      # A hook of the whole suite has exited: the example that waited for it is blamed.
      code = error.status
    rescue Exception => error
      Worker.end_by(error) if error.is_a?(SignalException)
      STDERR.write(error.full_message(highlight: false))
    ensure
      STDERR.flush
      exit!(code)
    end

    # Forking is forbidden: this process is the runner of its only slot.
    def become_runner(slot, message, descriptors)
      capture = slot.sit_in_loader
      Wire.send(@control, "type" => "forked", "slot" => slot.slot, "pid" => Process.pid, "runner" => Process.pid)
      connection = Wire.copy_of(descriptors.first)
      worker = Worker.new(@suite, message["number"], message["env"])
      worker.stay(capture)
      sender = @upstream || Records::Local.new(@suite)
      runner = Runner.new(@suite, connection, slot.page, capture, sender, @load.merge("isolation" => "slot"))
      runner.run
      worker.save_coverage if @upstream
      runner.done
      connection.close
      tell_exited(slot, 0, nil)
    end

    def hear_monitor(slot)
      case slot.hear_monitor
      when true
        Wire.send(@control, "type" => "forked", "slot" => slot.slot, "pid" => slot.monitor, "runner" => slot.runner)
      when :ended
        bury(slot)
      end
    end

    def bury(slot)
      slot.bury
      while (records = slot.hear_records)
        break if records.empty?

        records.each { |record| @suite.record(record) }
      end
      slot.close
      @suite.record_crash(slot.page.read, slot.status) if slot.page.read
      # A successor may have its number already.
      @slots.delete(slot)
      tell_exited(slot, slot.status, nil)
    end

    def hear_records(slot)
      (slot.hear_records || []).each { |record| @suite.record(record) }
    end

    def tell_exited(slot, status, error)
      message = {
        "type" => "exited", "slot" => slot.slot, "pid" => slot.monitor || Process.pid,
        "runner" => slot.runner || Process.pid, "status" => status
      }
      message["test"] = slot.page.read if slot.page.read
      message["error"] = error if error
      Wire.send(@control, message)
    end
  end
end
