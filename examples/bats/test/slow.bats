@test "takes its time" {
  sleep 0.3
}
