# frozen_string_literal: true

# What goes wrong, one of each kind.
RSpec.describe "Trouble" do
  it "fails" do
    puts "words of the failing one"
    expect(1 + 1).to eq 3
  end

  it "fails twice", :aggregate_failures do
    expect(1).to eq 2
    expect([1, 2]).to include(3)
  end

  it "raises" do
    raise Ledger::Overdrawn, "broke"
  end

  it "was pending and works now" do
    pending "it was broken"
    expect(1).to eq 1
  end

  context "without its office" do
    before(:context) { raise "no office" }

    it("cannot book") { expect(true).to be true }
    it("cannot close") { expect(true).to be true }
  end

  context "when its teardown fails" do
    after { raise "the door is stuck" }

    it("has worked") { expect(true).to be true }
  end

  it "takes its time" do
    sleep 1.2
    expect(true).to be true
  end

  context "that ends the process", :crash do
    it("exits") { exit!(3) }

    it "segfaults" do
      puts "last words"
      Process.kill(:SEGV, Process.pid)
      sleep
    end

    it("is killed") { Process.kill(:KILL, Process.pid) && sleep }
  end

  it "hangs", :hang do
    puts "waiting for nobody"
    sleep
  end

  it("comes after all that") { expect(true).to be true }
end
