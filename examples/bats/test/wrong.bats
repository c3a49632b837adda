@test "adds" {
  [ $((1 + 1)) -eq 2 ]
}

@test "adds wrongly [2 + 2]" {
  echo "the ledger says $((2 + 2))"
  [ $((2 + 2)) -eq 5 ]
}
