# frozen_string_literal: true

# The loaded examples, in the order in which RSpec would run them, as manifest entries in parts of at most 1,000.
#
# The order is asked for once: it may be random. Must not touch what an example would touch.

module RemudaRspec
  # A group and what of it runs, in order.
  Node = Struct.new(:group, :examples, :children)

  # The plan of the whole suite.
  class Manifest
    PART = 1000

    attr_reader :nodes, :examples

    def initialize(world)
      @nodes = world.ordered_example_groups.map { |group| node(group) }
      @examples = []
      @nodes.each { |one| gather(one) }
    end

    def parts
      seen = Hash.new(0)
      @examples.each_slice(PART).map do |some|
        { "type" => "manifest_part", "tests" => some.map { |example| entry(example, seen) } }
      end
    end

    # The `options` of `manifest_done`.
    def self.options(config, replay)
      fail_fast = config.fail_fast
      found = { "maxfail" => fail_fast == true ? 1 : fail_fast || nil, "replay" => replay }
      found["collect_only"] = true if config.dry_run?
      found.compact
    end

    private

    def node(group)
      strategy = group.ordering_strategy
      Node.new(group, strategy.order(group.filtered_examples), strategy.order(group.children).map { |one| node(one) })
    end

    def gather(node)
      @examples.concat(node.examples)
      node.children.each { |child| gather(child) }
    end

    def entry(example, seen)
      id = example.id
      count = seen[id] += 1
      {
        "id" => count == 1 ? id : "#{id} (#{count})",
        "file" => example.metadata[:rerun_file_path],
        "scope" => example.example_group.parent_groups.last.id,
        "line" => example.metadata[:line_number] || 0
      }
    end
  end
end
