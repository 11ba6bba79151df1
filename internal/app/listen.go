package app

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Listeners are the sockets that the role of a process needs, bound before anything else starts:
// a taken port is the most common mistake, and others need the real ports.
type Listeners struct {
	HTTPS, HTTP, Control net.Listener
	Metrics              net.Listener   // nil when it is not wanted
	HTTP3                net.PacketConn // likewise; UDP, on the address of HTTPS
}

// errNoPair says that a port that is free for TCP is not for UDP.
var errNoPair = errors.New("UDP cannot be listened on")

// Listen binds the addresses of cfg. Its errors name the flag.
func Listen(cfg *Config) (*Listeners, error) {
	for tries := 1; ; tries++ {
		l, err := listen(cfg)
		if _, port, _ := net.SplitHostPort(cfg.EdgeHTTPS); port != "0" || tries == 10 || !errors.Is(err, errNoPair) {
			return l, err
		}
	}
}

func listen(cfg *Config) (*Listeners, error) {
	l := &Listeners{}
	edge, control := cfg.Role.edge(), cfg.Role.control()
	for _, x := range []struct {
		needed     bool
		flag, addr string
		to         *net.Listener
	}{{edge, "--edge-https", cfg.EdgeHTTPS, &l.HTTPS}, {edge, "--edge-http", cfg.EdgeHTTP, &l.HTTP}, {control, "--control", cfg.Control, &l.Control}, {cfg.Metrics != "", "--metrics", cfg.Metrics, &l.Metrics}} {
		if !x.needed {
			continue
		}
		bound, err := net.Listen("tcp", x.addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s %s cannot be listened on (%w): choose another address with %s", x.flag, x.addr, err, x.flag), l.Close())
		}
		*x.to = bound
	}
	if edge && cfg.HTTP3 {
		_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // the edge says it, in its log
		bound, err := net.ListenPacket("udp", l.HTTPS.Addr().String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w on %s, which HTTP/3 needs (%w): choose another address with --edge-https, or do without by --no-http3", errNoPair, l.HTTPS.Addr(), err), l.Close())
		}
		l.HTTP3 = bound
	}
	return l, nil
}

// Close closes what is bound.
func (l *Listeners) Close() error {
	var errs []error
	if l.HTTP3 != nil {
		if err := l.HTTP3.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, x := range []net.Listener{l.HTTPS, l.HTTP, l.Control, l.Metrics} {
		if x == nil {
			continue
		}
		if err := x.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// port returns the TCP port of a bound listener.
func port(l net.Listener) int {
	a, _ := l.Addr().(*net.TCPAddr)
	if a == nil {
		return 0
	}
	return a.Port
}
