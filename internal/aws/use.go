package aws

// What the processes ask of the table, in request units (docs/storage.md has the
// counts), and of Lambda.
const (
	edgeReads    = 68 * 43_200 // of an edge at rest, in the minutes of 30 days
	tickReads    = 40          // of a turn of the control plane in which nothing is due
	tickWrites   = 3           // its lease
	domainReads  = 255         // a domain's daily checks, and half a renewal
	domainWrites = 130
	newReads     = 37 // a new domain, with its certificate
	newWrites    = 29
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
