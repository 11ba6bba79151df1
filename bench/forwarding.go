package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strconv"
)

// checkForwarding makes sure that every peer tells the origin the same: head is
// the request as the origin got it from a client at the address client.
func checkForwarding(head []byte, place placement, client string) error {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return fmt.Errorf("read forwarded request: %w", err)
	}
	if req.Host != place.Origin {
		return fmt.Errorf("the origin sees Host %q, not %q", req.Host, place.Origin)
	}
	for _, f := range [][2]string{
		{"User-Custom-Domain", place.Domain},
		{"X-Forwarded-For", client},
		{"X-Forwarded-Proto", "https"},
		{"X-Forwarded-Host", place.Domain},
		{"X-Forwarded-Port", strconv.Itoa(place.Port)},
		{"User-Agent", field("user-agent")},
		{"Cookie", field("cookie")},
	} {
		if got := req.Header.Get(f[0]); got != f[1] {
			return fmt.Errorf("the origin sees %s %q, not %q", f[0], got, f[1])
		}
	}
	return nil
}

func field(name string) string {
	for _, f := range browserFields {
		if f[0] == name {
			return f[1]
		}
	}
	return ""
}
