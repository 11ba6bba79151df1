package app

// Role is which parts of Shingle a process runs. The parts of a fleet find each
// other through the store alone.
type Role int

// The roles.
const (
	RoleAll     Role = iota // both
	RoleEdge                // the data plane: visitors
	RoleControl             // the API, and the worker that obtains and renews certificates
)

func (r Role) edge() bool    { return r != RoleControl }
func (r Role) control() bool { return r != RoleEdge }

// String returns the name of the command.
func (r Role) String() string {
	switch r {
	case RoleEdge:
		return "edge"
	case RoleControl:
		return "control"
	case RoleAll:
	}
	return "serve"
}
