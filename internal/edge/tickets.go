package edge

import (
	"bytes"
	"context"
	"crypto/tls"

	"github.com/shingle-proxy/shingle"
)

// TicketKeys gives an [Edge] the session ticket keys that the fleet shares.
type TicketKeys interface {
	// FollowTicketKeys calls set with the keys, each time they change, until ctx
	// ends: the first seals, all open, there is at least one. It may never call
	// set; the edge then has keys of its own.
	FollowTicketKeys(ctx context.Context, set func(keys [][32]byte))
}

// sessionHost begins the entry of a session's state that names its host.
const sessionHost = "shingle host 1\x00"

// bindSessions makes a session resumable under the server name that it was
// begun under, and no other: keys are shared by all names, and what a client
// proved or was told under one name says nothing about another (RFC 8446 section
// 4.2.11, CVE-2025-23419). A ticket for another name costs a full handshake.
func bindSessions(c *tls.Config) {
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		entry, err := sessionEntry(cs.ServerName)
		if err != nil {
			return nil, err
		}
		ss.Extra = append(ss.Extra, entry)
		return c.EncryptTicket(cs, ss)
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		entry, err := sessionEntry(cs.ServerName)
		if err != nil {
			return nil, err
		}
		ss, err := c.DecryptTicket(identity, cs)
		if err != nil || ss == nil || !isBound(ss, entry) {
			return nil, err
		}
		return ss, nil
	}
}

// isBound reports whether entry, and no entry for another host, is in ss.
func isBound(ss *tls.SessionState, entry []byte) bool {
	found := 0
	for _, e := range ss.Extra {
		if bytes.HasPrefix(e, []byte(sessionHost)) {
			if !bytes.Equal(e, entry) {
				return false
			}
			found++
		}
	}
	return found == 1
}

func sessionEntry(serverName string) ([]byte, error) {
	host, err := shingle.NormalizeHost(serverName)
	if err != nil {
		return nil, err
	}
	return append([]byte(sessionHost), host...), nil
}
