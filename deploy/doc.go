// Package deploy holds what installs Shingle on machines and clusters, and the tests of
// it. It has no code of its own.
package deploy
