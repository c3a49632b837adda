# frozen_string_literal: true

RSpec.shared_examples "a book" do |account|
  it "starts with nothing for #{account}" do
    expect(book.balance(account)).to eq 0
  end

  it "adds up" do
    3.times { book.book(account, 5) }
    expect(book.balance(account)).to eq 15
  end
end
