package sums

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestAdd(t *testing.T) {
	if Add(1, 1) != 2 {
		t.Fatal("one and one")
	}
}

func TestAddWrongly(t *testing.T) {
	fmt.Println("the ledger says", Add(2, 2))
	if Add(2, 2) != 5 {
		t.Errorf("two and two: %d", Add(2, 2))
	}
}

func TestNeedsABank(t *testing.T) {
	t.Skip("there is no bank")
}

func TestTable(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			if Add(n, n) == 4 {
				t.Error("four")
			}
		})
	}
}

func TestParallelOne(t *testing.T) {
	t.Parallel()
	time.Sleep(100 * time.Millisecond)
}

func TestParallelTwo(t *testing.T) {
	t.Parallel()
	time.Sleep(100 * time.Millisecond)
}

func TestTakesItsTime(t *testing.T) {
	time.Sleep(300 * time.Millisecond)
}

func TestReadsBesideIt(t *testing.T) {
	if _, err := os.Stat("testdata/rates"); err != nil {
		t.Fatal(err)
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(1, 2)
	f.Fuzz(func(t *testing.T, a, b int) {
		if Add(a, b) != Add(b, a) {
			t.Fatal("order matters")
		}
	})
}

func ExampleAdd() {
	fmt.Println(Add(1, 2))
	// Output: 3
}

func ExampleAdd_wrong() {
	fmt.Println(Add(1, 2))
	// Output: 4
}

func BenchmarkAdd(b *testing.B) {
	for i := 0; i < b.N; i++ {
		Add(i, i)
	}
}
