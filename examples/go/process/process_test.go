// Package process has tests that end their process.
package process

import (
	"os"
	"testing"
)

func TestBefore(t *testing.T) {}

func TestExits(t *testing.T) {
	os.Exit(3)
}

func TestPanics(t *testing.T) {
	panic("no more money")
}

func TestAfter(t *testing.T) {}
