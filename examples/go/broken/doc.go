// Package broken does not compile its tests with the tag `broken`.
package broken
