// Package shingle is the vocabulary of Shingle: custom domains with HTTPS for
// the customers of a SaaS product.
//
// It holds the types that every part shares, the contracts of the two stores
// ([DomainStore] and [Blobs]) and the error codes. It does no I/O. The parts
// themselves live below internal/, one package each; each imports this package
// and none of its siblings. internal/app wires them together.
package shingle
