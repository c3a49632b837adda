@test "adds" {
  [ $((1 + 1)) -eq 2 ]
}

@test "subtracts, too" {
  [ $((3 - 1)) -eq 2 ]
}
