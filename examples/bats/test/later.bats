@test "needs a bank" {
  skip "there is no bank"
}
