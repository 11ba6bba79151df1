// Package certs owns the life of certificates: it obtains them by ACME (RFC
// 8555), keeps them sealed in a [shingle.Blobs] store, renews them, and has them
// ready for handshakes.
//
// A certificate goes from memory to the handshake, else from the store, else
// from the CA. Permission gates the last step alone: what is stored and valid is
// served whatever the operator, the CA or the network say.
//
// Records in the store:
//
//	certs/HOST             chain, sealed key and issuer, in one value
//	challenges/HOST        the TLS-ALPN-01 validation of HOST that is under way
//	tickets                the keys of TLS session tickets, sealed; one for the whole fleet
//	txt/HOST/VALUE         a DNS-01 value that is published
//	delegations            the secret of the names that customers delegate to, sealed
//	accounts/key           the ACME account key, sealed; one for the whole fleet
//	accounts/HASH          the registration at the CA whose directory URL has this hash
package certs
