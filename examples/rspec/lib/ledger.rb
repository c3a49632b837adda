# frozen_string_literal: true

# Money in accounts, kept in a file of its own for each ledger.
class Ledger
  class Overdrawn < StandardError; end

  attr_reader :path

  def initialize(path)
    @path = path
    File.write(path, "") unless File.exist?(path)
  end

  def book(account, amount)
    raise Overdrawn, "#{account} has #{balance(account)}, cannot pay #{-amount}" if balance(account) + amount < 0

    File.write(path, "#{account} #{amount}\n", mode: "a")
  end

  def balance(account)
    File.readlines(path).map(&:split).select { |name, _| name == account }.sum { |_, amount| amount.to_i }
  end

  def accounts
    File.readlines(path).map { |line| line.split.first }.uniq
  end

  def close
    File.delete(path)
  end
end
