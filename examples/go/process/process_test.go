// Package process has tests that end their process, or their output in the middle of a line.
package process

import (
	"fmt"
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

func TestLineWithoutEnd(t *testing.T) {
	t.Run("part", func(t *testing.T) { fmt.Print("half a line") })
	fmt.Print("and another")
}
