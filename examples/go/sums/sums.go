// Package sums adds.
package sums

// Add adds.
func Add(a, b int) int { return a + b }
