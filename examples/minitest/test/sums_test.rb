class SumsTest < Minitest::Test
  def test_adds
    assert_equal 2, 1 + 1
  end

  def test_adds_wrongly
    assert_equal 5, 2 + 2, 'two and two'
  end

  def test_needs_a_bank
    skip 'there is no bank'
  end

  def test_divides_by_nothing
    1 / 0
  end

  def test_takes_its_time
    sleep 0.3
  end
end
