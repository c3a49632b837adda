# frozen_string_literal: true

# The process between the loader and a runner: nothing that a test started outlives its runner.
#
# It is a child subreaper, so double-forked and `setsid` descendants come back to it. It tells the loader the pid of
# its runner, then how that runner ended, after everything left over was killed. When the loader goes away (end of
# file) it kills the whole tree. It must not run user code.

require_relative "kernel"

module RemudaRspec
  # Guards one runner.
  class Monitor
    STATUS = "qq"
    STATUS_BYTES = 16
    # A process in an uninterruptible wait must not keep its slot for ever.
    LONGEST_REAPING = 10.0

    # An example that signals its own process group must reach neither its neighbours nor who guards it.
    def self.leave_group
      Process.setpgid(0, 0)
    end

    # Every descendant of `root`, from one walk over /proc.
    def self.descendants(root)
      children = Hash.new { |hash, pid| hash[pid] = [] }
      Dir.each_child("/proc") do |name|
        next unless name.match?(/\A\d+\z/)

        # The command name may hold spaces and brackets: count from the last bracket.
        parent = File.binread("/proc/#{name}/stat").rpartition(")").last.split[1]
        children[parent.to_i] << name.to_i
      rescue SystemCallError
        next
      end
      found = []
      todo = [root]
      until todo.empty?
        below = children.fetch(todo.pop, [])
        found.concat(below)
        todo.concat(below)
      end
      found
    end

    # Kills and reaps every descendant of this subreaper.
    def self.kill_left_overs
      deadline = RemudaRspec.now + LONGEST_REAPING
      while RemudaRspec.now < deadline
        next if Process.wait(-1, Process::WNOHANG)

        descendants(Process.pid).each { |pid| kill(pid) }
        sleep(0.001)
      end
    rescue Errno::ECHILD
      nil
    end

    def self.kill(pid)
      Process.kill(:KILL, pid)
    rescue SystemCallError
      nil
    end

    def initialize(channel, runner)
      @channel = channel
      @runner = runner
      @wake, @bell = IO.pipe
    end

    # Until the runner ends or the loader is gone.
    def watch
      listen_for_children
      tell(0)
      status = reap
      until status
        ready, = IO.select([@channel, @wake])
        if ready.include?(@channel)
          Monitor.kill_left_overs
          return
        end
        @wake.read_nonblock(4096, exception: false)
        status = reap
      end
      Monitor.kill_left_overs
      tell(status)
    end

    private

    def listen_for_children
      trap(:INT, "IGNORE")
      trap(:TERM, "DEFAULT")
      trap(:CHLD) { @bell.write_nonblock(".", exception: false) }
    end

    def tell(status)
      @channel.write([@runner, status].pack(STATUS))
    rescue SystemCallError
      nil
    end

    # Reaps what has ended; the wait status of the runner once it is among them.
    def reap
      loop do
        pid, status = Process.wait2(-1, Process::WNOHANG)
        return nil unless pid
        return status.to_i if pid == @runner
      end
    rescue Errno::ECHILD
      nil
    end
  end
end
