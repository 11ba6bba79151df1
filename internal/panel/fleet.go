package panel

import (
	"slices"

	"github.com/shingle-proxy/shingle/internal/api"
)

const edgesListed = 1000 // processes

// edgePage is the processes of the fleet, those that need attention first.
type edgePage struct {
	Edges []api.Edge
	More  bool // there are more
}

func listEdges(v *visit) error {
	var p edgePage
	for e, err := range v.api.Edges(v.ctx()) {
		if err != nil {
			return err
		}
		if len(p.Edges) == edgesListed {
			p.More = true
			break
		}
		p.Edges = append(p.Edges, e)
	}
	slices.SortStableFunc(p.Edges, func(a, b api.Edge) int { return len(b.Attention) - len(a.Attention) })
	return v.show("edges", p)
}
