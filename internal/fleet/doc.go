// Package fleet holds the tests of certificates in several processes on one
// store, with a real CA. It has no code of its own.
package fleet
