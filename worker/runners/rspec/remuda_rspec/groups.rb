# frozen_string_literal: true

# Which example groups are entered: runs their before(:context) hooks on the way in, after(:context) on the way out.
#
# What ExampleGroup.run does for a whole tree, step by step, because examples come in any order. A group that two
# examples in a row share is neither left nor entered again. Must not run an example.

module RemudaRspec
  # The entered groups, outermost first.
  class Groups
    # Why examples of a group cannot run.
    Blocked = Struct.new(:group, :exception) do
      def skip?
        exception.is_a?(RSpec::Core::Pending::SkipDeclaredInExample)
      end
    end

    attr_reader :leaving

    # The block hears what entering a group took, in seconds.
    def initialize(relay, &paid)
      @relay = relay
      @paid = paid
      @entered = []
    end

    # Enters `group` and leaves what is not around it; why its examples cannot run, or nil.
    def enter(group)
      path = group.parent_groups.reverse
      leave_until(path)
      path.drop(@entered.size).each { |one| open(one) unless @blocked }
      @blocked
    end

    # Leaves what an example of `group` does not need; all of it for nil.
    def leave_for(group)
      leave_until(group ? group.parent_groups.reverse : [])
    end

    private

    def leave_until(path)
      close(@entered.last) until @entered == path.first(@entered.size)
    end

    def open(group)
      started = RemudaRspec.now
      @entered << group
      @relay.example_group_started(group)
      scope(:before_context_hook)
      group.run_before_context_hooks(group.new("before(:context) hook"))
    rescue SystemExit
      @blocked = Blocked.new(group, RuntimeError.new("a before(:context) hook of #{group.description} called exit"))
    rescue RSpec::Support::AllExceptionsExceptOnesWeMustNotRescue => error
      @blocked = Blocked.new(group, error)
    ensure
      @paid.call(RemudaRspec.now - started)
    end

    def close(group)
      @leaving = group
      scope(:after_context_hook)
      group.run_after_context_hooks(group.new("after(:context) hook"))
    rescue SystemExit
      error = RuntimeError.new("an after(:context) hook called exit")
      @relay.notify_non_example_exception(error, "An error occurred in an `after(:context)` hook.")
    ensure
      @relay.example_group_finished(group)
      @entered.delete(group)
      @blocked = nil if @blocked&.group.equal?(group)
      @leaving = nil
    end

    # Since rspec-core 3.11 matchers ask where they are.
    def scope(name)
      RSpec.current_scope = name if RSpec.respond_to?(:current_scope=)
    end
  end
end
