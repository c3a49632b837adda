# frozen_string_literal: true

# The few Linux calls that Ruby has no method for, by their numbers.
#
# `Kernel#syscall` needs no gem, and Fiddle is one since Ruby 3.5. Must not decide when to call them.

require "rbconfig"

module RemudaRspec
  # prctl(2).
  module Linux
    PRCTL = {
      "x86_64" => 157, "aarch64" => 167, "arm64" => 167, "riscv64" => 167, "loongarch64" => 167,
      "powerpc64le" => 171, "ppc64le" => 171, "s390x" => 172, "i386" => 172, "i686" => 172, "arm" => 172
    }.freeze
    PR_SET_PDEATHSIG = 1
    PR_SET_NAME = 15
    PR_SET_CHILD_SUBREAPER = 36

    class << self
      def name_process(name)
        prctl(PR_SET_NAME, name[0, 15])
      end

      def become_subreaper
        prctl(PR_SET_CHILD_SUBREAPER, 1)
      end

      def die_with_parent
        prctl(PR_SET_PDEATHSIG, Signal.list.fetch("KILL"))
      end

      private

      def prctl(option, value)
        # With -w Ruby would warn that syscall is going away.
        verbose = $VERBOSE
        $VERBOSE = nil
        syscall(number, option, value, 0, 0, 0)
      ensure
        $VERBOSE = verbose
      end

      def number
        cpu = RbConfig::CONFIG["host_cpu"]
        PRCTL[cpu.sub(/\Aarmv.*/, "arm")] or raise NotImplementedError, "the number of prctl is not known for #{cpu}"
      end
    end
  end
end
