package app

import "github.com/shingle-proxy/shingle/internal/check"

// NameServers returns what asks the name servers of zones, from the root down. resolvers
// are asked for their addresses; none: the system's. roots are for tests; none: those of
// the Internet.
func NameServers(resolvers, roots []string) (*check.Checker, error) {
	return check.New(check.Config{Resolvers: resolvers, RootServers: roots})
}
