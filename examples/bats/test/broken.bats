setup() {
  no-such-command
}

@test "never gets ready" {
  true
}
