# frozen_string_literal: true

# The year's ledger is made once for the whole group and read by all its examples.
RSpec.describe "A year" do
  before(:context) do
    @year = Ledger.new(File.join($folder, "year"))
    12.times { |month| @year.book("month-#{month}", month) }
  end

  after(:context) { @year.close }

  12.times do |month|
    it "has month #{month}" do
      expect(@year.balance("month-#{month}")).to eq month
    end
  end

  context "closed" do
    before(:context) { @sum = @year.accounts.sum { |name| @year.balance(name) } }

    it("is worth 66") { expect(@sum).to eq 66 }
    it("is the same year") { expect(@year.accounts.size).to eq 12 }
  end
end
