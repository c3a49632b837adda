class ProcessTest < Minitest::Test
  def test_ends_its_process
    exit!(3)
  end

  def test_is_its_neighbour
    assert Process.pid.positive?
  end
end
