//go:build broken

// Package broken does not compile; only the tag `broken` shows it.
package broken

import "testing"

func TestNever(t *testing.T) { undefined() }
