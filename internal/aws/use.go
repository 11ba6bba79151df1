package aws

// What the processes ask of the table, in request units (docs/storage.md has the
// counts), and of Lambda.
const (
	edgeReads    = 1.4e6 // of an edge at rest, in 30 days
	tickReads    = 30    // of the control plane when nothing is due
	tickWrites   = 2     // its lease
	domainReads  = 400   // a domain's checks, and its share in a renewal, in 30 days
	domainWrites = 100
	newReads     = 60 // a domain's first checks and its certificate
	newWrites    = 60
	domainBytes  = 12e3 // with its certificate, plan, status and history

	ticks          = 30 * 24 * 60 // the control plane looks what is due every minute
	controlSeconds = 1            // a call, at most at the median
	controlMemory  = 256          // MB
)

type tableUse struct{ reads, writes, gigabytes float64 }

func (d *Deployment) tableUse(l Load) tableUse {
	all, fresh := float64(l.Domains), float64(l.NewDomains)
	return tableUse{
		reads:     float64(d.edges())*edgeReads + ticks*tickReads + all*domainReads + fresh*newReads,
		writes:    ticks*tickWrites + all*domainWrites + fresh*newWrites,
		gigabytes: all * domainBytes / 1e9,
	}
}

// alarms is how many there are.
func alarms(d *Deployment) float64 { return float64(3 + 2*len(d.Regions)) }
