# frozen_string_literal: true

RSpec.describe Ledger do
  subject(:book) { described_class.new(File.join($folder, "book-#{object_id}")) }

  after { book.close }

  it_behaves_like "a book", "cash"
  it_behaves_like "a book", "bank"

  it "knows its accounts" do
    book.book("cash", 1)
    book.book("bank", 2)
    expect(book.accounts).to eq %w[cash bank]
  end

  it "refuses to be overdrawn" do
    expect { book.book("cash", -1) }.to raise_error(Ledger::Overdrawn, /cannot pay 1/)
  end

  it { is_expected.to respond_to(:balance) }

  it "prints what it did" do
    puts "booked 7"
    book.book("cash", 7)
    expect(book.balance("cash")).to eq 7
  end

  context "with interest" do
    it "pays two percent" do
      pending "interest is not implemented"
      book.book("cash", 100)
      expect(book.balance("cash")).to eq 102
    end

    it "compounds"

    xit "is taxed" do
      raise "no tax office here"
    end

    it "is paid on Sundays" do
      skip "not on this calendar"
    end
  end
end
