// Package devenv is the world around the edge in `shingle dev`: a certificate
// authority, the customers' DNS and an origin, in the same process, on
// loopback addresses.
//
// Tests of the certificate engine have more use for a CA that misbehaves: see
// [Fault] and the functions that return one, [CA.SetRenewalInfo], and
// [CA.NewOrders] for what the CA was asked. A process may run several CAs, each
// with settings of its own.
//
// It is for development and tests only. [CA] embeds Pebble, which keeps all it
// ever saw in memory and has no way to stop: each CA leaves one idle goroutine
// and its memory behind after Close, for as long as the process lives. That is
// why nothing here belongs in production.
package devenv

import "time"

// closeGrace is how long Close waits for requests under way before it cuts
// their connections.
const closeGrace = 2 * time.Second

// maxConns bounds the connections that one listener serves at once; more wait
// in the kernel's queue.
const maxConns = 4096
